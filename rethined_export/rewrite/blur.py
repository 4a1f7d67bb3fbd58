"""Gaussian blur as two one-dimensional depthwise convolutions: 14 multiply-adds, not 49."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined.filters import BLUR_SIDE, gaussian_taps


class SeparableBlur(nn.Module):
    """Twin of ``filters.gaussian_blur`` for RGB images: ``[1, 3, H, W]`` in and out."""

    rows: Tensor
    columns: Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = gaussian_taps().float()
        self.register_buffer("rows", taps.reshape(1, 1, -1, 1).repeat(3, 1, 1, 1))
        self.register_buffer("columns", taps.reshape(1, 1, 1, -1).repeat(3, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        tall = F.conv2d(_reflect(x, 2), self.rows, groups=3)
        return F.conv2d(_reflect(tall, 3), self.columns, groups=3)


def _reflect(x: Tensor, axis: int) -> Tensor:
    """``F.pad(mode="reflect")`` along one axis, put together from slices.

    LiteRT pads so one value at a time: that took a seventh of the whole program.
    """
    halo, last = BLUR_SIDE // 2, x.shape[axis] - 1
    before = [x.narrow(axis, place, 1) for place in range(halo, 0, -1)]
    after = [x.narrow(axis, last - place, 1) for place in range(1, halo + 1)]
    return torch.cat([*before, x, *after], dim=axis)
