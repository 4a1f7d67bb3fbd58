"""Image filters of the method, in their plainest torch form."""

import torch
from torch import Tensor
from torch.nn import functional as F

BLUR_SIDE = 7
BLUR_SIGMA = 2.01
#: Rows blurred at once: torch's convolution holds 16 channels in place of 3 while it runs.
_STRIP = 512


def gaussian_taps(
    side: int = BLUR_SIDE, sigma: float = BLUR_SIGMA, device: torch.device | None = None
) -> Tensor:
    """One-dimensional Gaussian, ``[side]``, float64, sum 1."""
    distance = torch.arange(side, dtype=torch.float64, device=device) - side // 2
    taps = torch.exp(-(distance**2) / (2 * sigma**2))
    return taps / taps.sum()


def gaussian_blur(x: Tensor) -> Tensor:
    """``gauss(x; 7×7, σ = 2.01)`` with reflected borders; ``[1, C, H, W]`` in and out."""
    taps = gaussian_taps(device=x.device)
    kernel = torch.outer(taps, taps).to(x)
    channels, height = x.shape[1:3]
    weight = kernel.expand(channels, 1, BLUR_SIDE, BLUR_SIDE)
    padded = F.pad(x, [BLUR_SIDE // 2] * 4, mode="reflect")
    strips = [
        F.conv2d(padded[:, :, top : top + _STRIP + BLUR_SIDE - 1], weight, groups=channels)
        for top in range(0, height, _STRIP)
    ]
    return torch.cat(strips, dim=2)


def high_frequencies(x: Tensor) -> Tensor:
    """``x − gauss(x)``."""
    return x - gaussian_blur(x)


def bicubic_upsample(x: Tensor, scale: int) -> Tensor:
    """Bicubic (a = −0.75), half-pixel centres, replicated borders, no antialias."""
    return F.interpolate(x, scale_factor=scale, mode="bicubic", align_corners=False)


def bilinear_upsample(x: Tensor, scale: int) -> Tensor:
    """Bilinear, half-pixel centres, replicated borders."""
    return F.interpolate(x, scale_factor=float(scale), mode="bilinear", align_corners=False)


def bicubic_downsample(x: Tensor, scale: int) -> Tensor:
    """Antialiased bicubic (a = −0.5), weights renormalised at the borders."""
    return _antialiased(x, scale, "bicubic")


def bilinear_downsample(x: Tensor, scale: int) -> Tensor:
    """Antialiased bilinear: weights 1 − |distance|/s, renormalised at the borders."""
    return _antialiased(x, scale, "bilinear")


def _antialiased(x: Tensor, scale: int, mode: str) -> Tensor:
    height, width = x.shape[2] // scale, x.shape[3] // scale
    return F.interpolate(x, size=(height, width), mode=mode, align_corners=False, antialias=True)


def cubic_downsample(x: Tensor, scale: int) -> Tensor:
    """Bicubic (a = −0.75) without antialias: four taps a side at any scale, borders repeated."""
    height, width = x.shape[2] // scale, x.shape[3] // scale
    return F.interpolate(x, size=(height, width), mode="bicubic", align_corners=False)


def unfold(x: Tensor, patch: int) -> Tensor:
    """Whole patches as tokens: ``[1, C, H, W]`` → ``[N, C·patch²]``, row by row."""
    return F.unfold(x, patch, stride=patch)[0].T


def fold(tokens: Tensor, patch: int, height: int, width: int) -> Tensor:
    """The inverse of :func:`unfold`."""
    return F.fold(tokens.T[None], (height, width), patch, stride=patch)
