"""Antialiased bicubic reduction by a whole number as two strided depthwise convolutions.

The filter is 4·s taps long; past the border it sees zeros, and a per-row and per-column factor
restores the weight lost there, as the resampling in torch and Pillow does.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.rewrite.bicubic import cubic_weight

_A = -0.5


def antialias_taps(scale: int) -> Tensor:
    """Normalised weights ``[4·scale]``, float64, centred on the output pixel."""
    count = 4 * scale
    distance = ((torch.arange(count, dtype=torch.float64) + 0.5 - count / 2) / scale).abs()
    taps = cubic_weight(distance, _A)
    return taps / taps.sum()


class AntialiasedDownsample(nn.Module):
    """Twin of ``filters.bicubic_downsample``: ``[1, 3, size·s, size·s]`` → ``[1, 3, size, size]``.

    Raises:
        ValueError: an odd scale above 1, whose filter would not be centred between pixels.
    """

    rows: Tensor
    columns: Tensor
    gain: Tensor

    def __init__(self, scale: int, size: int) -> None:
        super().__init__()
        if scale % 2:
            raise ValueError(f"scale {scale} is odd; only even scales are supported")
        self.scale = scale
        self.margin = 3 * scale // 2
        taps = antialias_taps(scale)
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
