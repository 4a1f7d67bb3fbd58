"""Bicubic enlargement by a whole number as one convolution and a pixel shuffle.

Every output pixel of phase p (0 ≤ p < s) sits at ``(p + ½)/s − ½`` from its source pixel, so it is
a fixed mix of the 5×5 pixels around that one: s² kernels, the same everywhere.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_A = -0.75
_REACH = 2


def cubic_weight(distance: Tensor, a: float) -> Tensor:
    """Keys' cubic convolution kernel at non-negative distances; 0 from 2 on."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, 0))


def bicubic_taps(scale: int) -> Tensor:
    """Weights of the five pixels around the source for each phase, ``[scale, 5]``, float64."""
    phase = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
    offset = torch.arange(-_REACH, _REACH + 1, dtype=torch.float64)
    distance = (offset[None, :] - phase[:, None]).abs()
    return cubic_weight(distance, _A)


class BicubicUpsample(nn.Module):
    """Twin of ``filters.bicubic_upsample``: ``[1, C, h, w]`` → ``[1, C, h·s, w·s]``."""

    kernel: Tensor

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        taps = bicubic_taps(scale)
        kernel = torch.einsum("pi,qj->pqij", taps, taps)
        self.register_buffer("kernel", kernel.reshape(scale**2, 1, 5, 5).float())

    def forward(self, x: Tensor) -> Tensor:
        _, channels, height, width = x.shape
        planes = replicate_pad(x, _REACH).reshape(
            channels, 1, height + 2 * _REACH, width + 2 * _REACH
        )
        phases = F.conv2d(planes, self.kernel)
        large = F.pixel_shuffle(phases, self.scale)
        return large.reshape(1, channels, height * self.scale, width * self.scale)


def replicate_pad(x: Tensor, reach: int) -> Tensor:
    """Repeat the border on each side (TFLite has no replicate padding)."""
    top, bottom = x[:, :, :1], x[:, :, -1:]
    x = torch.cat([*[top] * reach, x, *[bottom] * reach], dim=2)
    left, right = x[:, :, :, :1], x[:, :, :, -1:]
    return torch.cat([*[left] * reach, x, *[right] * reach], dim=3)
