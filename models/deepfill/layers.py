"""The one kind of layer that DeepFill has: a convolution, gated or not."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.deepfill.config import Padding

Activation = Literal["elu", "relu", "none"]


class Shape(NamedTuple):
    """Of a layer: its channels, and how it moves over the map.

    Attributes:
        enlarge: double the sides first, by nearest neighbours.
    """

    outputs: int
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    enlarge: bool = False


class Layer(nn.Module):
    """A convolution with an activation, and a gate beside it.

    A gated one has twice the channels: the activated first half times the sigmoid of the second.
    """

    def __init__(
        self, inputs: int, shape: Shape, padding: Padding, activation: Activation, gated: bool
    ) -> None:
        super().__init__()
        self.activation, self.gated, self.enlarge = activation, gated, shape.enlarge
        # With stride 1 TensorFlow's padding is the same on both sides; with 2 it is not.
        self.uneven = padding == "same" and shape.stride == 2
        self.conv = nn.Conv2d(
            inputs,
            shape.outputs * (2 if gated else 1),
            shape.kernel,
            shape.stride,
            padding=0 if self.uneven else (shape.kernel - 1) // 2 * shape.dilation,
            dilation=shape.dilation,
            padding_mode="reflect" if padding == "reflect" else "zeros",
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[B, inputs, h, w]`` → ``[B, outputs, h', w']``."""
        if self.enlarge:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        if self.uneven:
            x = same_pad(x, self.conv.kernel_size[0], self.conv.stride[0])
        x = self.conv(x)
        if not self.gated:
            return self._activated(x)
        feature, gate = x.chunk(2, dim=1)
        return self._activated(feature) * torch.sigmoid(gate)

    def _activated(self, x: Tensor) -> Tensor:
        match self.activation:
            case "elu":
                return F.elu(x)
            case "relu":
                return F.relu(x)
            case "none":
                return x


def same_pad(x: Tensor, kernel: int, stride: int) -> Tensor:
    """TensorFlow's ``SAME``: zeros so that a side n gives ⌈n/stride⌉, the odd one after."""
    height, width = (
        max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:]
    )
    before = (width // 2, height // 2)
    return F.pad(x, (before[0], width - before[0], before[1], height - before[1]))
