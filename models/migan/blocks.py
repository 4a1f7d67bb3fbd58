"""Separable convolutions with fixed resampling filters: what every level of MI-GAN is built of."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2
#: Keeps the variance of what passes a leaky ReLU.
GAIN = math.sqrt(2)
#: Activations are limited to ±LIMIT, for half precision.
LIMIT = 256.0


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU of gain √2, limited to ±256."""
    return torch.clamp(F.leaky_relu(x, SLOPE) * GAIN, -LIMIT, LIMIT)


def fir_taps(total: float) -> Tensor:
    """The binomial filter [1, 3, 3, 1] ⊗ [1, 3, 3, 1] with a given sum, ``[4, 4]``."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0])
    taps = torch.outer(line, line)
    return taps * (total / taps.sum())


def _fixed_filter(channels: int, total: float, stride: int, padding: int) -> nn.Conv2d:
    """A depthwise 4×4 filter whose taps stand among the weights but never train."""
    conv = nn.Conv2d(channels, channels, 4, stride, padding, groups=channels, bias=False)
    conv.weight.data = fir_taps(total).expand(channels, 1, 4, 4).clone()
    conv.weight.requires_grad_(False)
    return conv


class Downsample(nn.Module):
    """Halves the sides: ``[N, C, 2h, 2w]`` → ``[N, C, h, w]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.filter = _fixed_filter(channels, total=1, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.filter(x)


class Upsample(nn.Module):
    """Doubles the sides by zero insertion and the filter: ``[N, C, s/2, s/2]`` → ``[N, C, s, s]``.

    Args:
        side: of the output; the lattice of ones and zeros is stored at this size.
    """

    filter_const: Tensor

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        lattice = torch.zeros(1, 1, side, side)
        lattice[:, :, ::2, ::2] = 1
        self.register_buffer("filter_const", lattice)
        self.filter = _fixed_filter(channels, total=4, stride=1, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2.0, mode="nearest") * self.filter_const
        return self.filter(F.pad(x, (2, 1, 2, 1)))


class SeparableConv(nn.Module):
    """Depthwise 3×3, activation, 1×1, activation; resampling lies around the 1×1.

    Args:
        inputs, outputs: channels.
        side: of the output, where noise is added: it is stored at this size.
        down: halve the sides, before the 1×1 convolution.
        up: double the sides, after it; needs ``side``.
    """

    noise_const: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        side: int | None = None,
        down: bool = False,
        up: bool = False,
    ) -> None:
        super().__init__()
        self.noisy = side is not None
        if side is not None:
            self.noise_strength = nn.Parameter(torch.zeros(()))
            self.register_buffer("noise_const", torch.randn(side, side))
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs)
        self.conv2 = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.downsample = Downsample(inputs) if down else None
        self.upsample = Upsample(outputs, side) if up and side is not None else None

    def forward(self, x: Tensor) -> Tensor:
        x = activate(self.conv1(x))
        if self.downsample is not None:
            x = self.downsample(x)
        x = self.conv2(x)
        if self.upsample is not None:
            x = self.upsample(x)
        if self.noisy:
            x = x + self.noise_const * self.noise_strength
        return activate(x)
