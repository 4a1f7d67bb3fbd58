"""Reflection at the border, put together from slices.

LiteRT pads so one value at a time: on a map of 64×64 with 384 channels, twenty times as long.
"""

import torch
from torch import Tensor, nn


def reflect_pad(x: Tensor, reach: int, axes: tuple[int, ...] = (2, 3)) -> Tensor:
    """Twin of ``F.pad(mode="reflect")`` by ``reach`` on both ends of each of some axes.

    Each axis is longer than ``reach``.
    """
    for axis in axes:
        last = x.shape[axis] - 1
        before = [x.narrow(axis, place, 1) for place in range(reach, 0, -1)]
        after = [x.narrow(axis, last - place, 1) for place in range(1, reach + 1)]
        x = torch.cat([*before, x, *after], dim=axis)
    return x


class ReflectPad(nn.Module):
    """Twin of ``nn.ReflectionPad2d``."""

    def __init__(self, reach: int) -> None:
        super().__init__()
        self.reach = reach

    def forward(self, x: Tensor) -> Tensor:
        return reflect_pad(x, self.reach)


class ReflectedConv(nn.Module):
    """Twin of a convolution of equal padding on all sides and ``padding_mode="reflect"``.

    Args:
        conv: it is changed to one without padding.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv, self.reach = conv, unpadded(conv)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(reflect_pad(x, self.reach))


def unpadded(conv: nn.Conv2d) -> int:
    """Take a convolution's padding off, in place; the pixels that it was on each side."""
    assert isinstance(conv.padding, tuple)
    reach, _ = conv.padding
    conv.padding, conv.padding_mode = (0, 0), "zeros"
    return reach
