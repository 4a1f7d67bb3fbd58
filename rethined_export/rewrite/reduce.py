"""Bicubic reduction without antialias by an even number as two strided depthwise convolutions.

Every output pixel lies between two pixels, so that it is the same mix of four along each side,
whatever the scale.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.rewrite.bicubic import cubic_weight, replicate_pad

_A = -0.75
_TAPS = 4


def reduction_taps() -> Tensor:
    """Weights of four pixels, float64: (−0.09375, 0.59375, 0.59375, −0.09375)."""
    distance = (torch.arange(_TAPS, dtype=torch.float64) - (_TAPS - 1) / 2).abs()
    return cubic_weight(distance, _A)


class CubicDownsample(nn.Module):
    """Twin of ``filters.cubic_downsample`` for RGB: ``[1, 3, h·s, w·s]`` → ``[1, 3, h, w]``.

    Raises:
        ValueError: an odd scale, whose pixels lie on others.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, scale: int) -> None:
        super().__init__()
        if scale % 2:
            raise ValueError(f"scale {scale} is odd; only even scales are supported")
        self.scale = scale
        taps = reduction_taps().float()
        self.register_buffer("rows", taps.reshape(1, 1, -1, 1).repeat(3, 1, 1, 1))
        self.register_buffer("columns", taps.reshape(1, 1, 1, -1).repeat(3, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        # The first tap of the first output lies one pixel outside at s = 2, inside at larger ones.
        first = self.scale // 2 - _TAPS // 2
        x = replicate_pad(x, -first) if first < 0 else x[:, :, first:, first:]
        tall = F.conv2d(x, self.rows, stride=(self.scale, 1), groups=3)
        return F.conv2d(tall, self.columns, stride=(1, self.scale), groups=3)
