"""A separable convolution over joined maps, without joining them.

A depthwise layer keeps its channels apart and a 1×1 layer sums over them, so each map can go its
own way until that sum. Joining copies both maps, of which a decoder's last are the largest there
are, and in runtimes that keep channels in blocks it also takes them out of these and back.
"""

import copy

import torch
from torch import Tensor, nn


class SplitSeparable(nn.Module):
    """Twin of ``relu(pointwise(relu(depthwise(torch.cat([first, second], dim=1)))))``.

    Args:
        depthwise: one filter a channel, with bias. pointwise: 1×1, with bias.
        first: channels of the first map; the rest are the second's.
    """

    def __init__(self, depthwise: nn.Conv2d, pointwise: nn.Conv2d, first: int) -> None:
        super().__init__()
        channels = depthwise.in_channels
        if depthwise.groups != channels or depthwise.out_channels != channels:
            raise ValueError(f"{depthwise} mixes channels; only depthwise layers can be split")
        parts = (slice(0, first), slice(first, channels))
        self.depthwise = nn.ModuleList(_filters(depthwise, part) for part in parts)
        self.pointwise = nn.ModuleList(_weights(pointwise, part) for part in parts)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """``[B, first, h, w]`` and ``[B, rest, h, w]`` → ``[B, out, h', w']``."""
        one, other = (
            pointwise(torch.relu(depthwise(x)))
            for x, depthwise, pointwise in zip(
                (first, second), self.depthwise, self.pointwise, strict=True
            )
        )
        return torch.relu(one + other)


def _filters(layer: nn.Conv2d, part: slice) -> nn.Conv2d:
    """Some channels of a depthwise layer."""
    made = copy.deepcopy(layer)
    made.weight = nn.Parameter(layer.weight.detach()[part].clone())
    assert layer.bias is not None
    made.bias = nn.Parameter(layer.bias.detach()[part].clone())
    made.in_channels = made.out_channels = made.groups = len(made.weight)
    return made


def _weights(layer: nn.Conv2d, part: slice) -> nn.Conv2d:
    """A 1×1 layer over some channels; the bias goes with the first."""
    made = copy.deepcopy(layer)
    made.weight = nn.Parameter(layer.weight.detach()[:, part].clone())
    made.in_channels = made.weight.shape[1]
    if part.start > 0:
        made.bias = None
    return made
