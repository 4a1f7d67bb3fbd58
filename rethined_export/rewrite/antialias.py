"""Antialiased reduction by a whole number as two strided depthwise convolutions.

The filter is 4·s taps long, bicubic, or 2·s, bilinear; past the border it sees zeros, and a per-row
and per-column factor restores the weight lost there, as the resampling in torch and Pillow does.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.rewrite.bicubic import cubic_weight

_A = -0.5
#: Output pixels that a filter reaches to each side.
_REACH = {"bicubic": 2, "bilinear": 1}

Filter = Literal["bicubic", "bilinear"]


def antialias_taps(scale: int, kind: Filter = "bicubic") -> Tensor:
    """Normalised weights, float64, centred on the output pixel: ``[4·scale]``, or half of that."""
    count = 2 * _REACH[kind] * scale
    distance = ((torch.arange(count, dtype=torch.float64) + 0.5 - count / 2) / scale).abs()
    taps = cubic_weight(distance, _A) if kind == "bicubic" else 1 - distance
    return taps / taps.sum()


class AntialiasedDownsample(nn.Module):
    """Twin of ``filters.bicubic_downsample`` and, as asked, ``filters.bilinear_downsample``.

    ``[1, 3, size·s, size·s]`` → ``[1, 3, size, size]``.

    Raises:
        ValueError: an odd scale above 1, whose filter would not be centred between pixels.
    """

    rows: Tensor
    columns: Tensor
    gain: Tensor

    def __init__(self, scale: int, size: int, kind: Filter = "bicubic") -> None:
        super().__init__()
        if scale % 2:
            raise ValueError(f"scale {scale} is odd; only even scales are supported")
        self.scale = scale
        taps = antialias_taps(scale, kind)
        self.margin = (len(taps) - scale) // 2
        inside = F.pad(torch.ones(1, 1, size * scale, dtype=torch.float64), [self.margin] * 2)
        seen = F.conv1d(inside, taps.reshape(1, 1, -1), stride=scale)
        self.register_buffer("gain", (1 / seen).float().reshape(1, 1, 1, size))
        self.register_buffer("rows", taps.float().reshape(1, 1, -1, 1).repeat(3, 1, 1, 1))
        self.register_buffer("columns", taps.float().reshape(1, 1, 1, -1).repeat(3, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        margin, scale = self.margin, self.scale
        rows = F.conv2d(x, self.rows, stride=(scale, 1), padding=(margin, 0), groups=3)
        both = F.conv2d(rows, self.columns, stride=(1, scale), padding=(0, margin), groups=3)
        return both * self.gain * self.gain.reshape(1, 1, -1, 1)
