"""Ways around the hole of a whole photo, squeezed into a square: two published programs.

Both reduce a square of 512·m to 512 for the network, add that square's residuals to what it
painted, and set the result into the photo's own size, mixed with the photo over a few pixels around
the hole. :func:`authors` is the first author's, in TensorFlow; :func:`atlas` Huawei's sample for
its Atlas 200 DK board, in NumPy and OpenCV.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from rethined_export.models.hifill import CELL, PRESETS, enlarged, pasted

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
#: Native input ``[1, 4, 512, 512]`` → painted ``[1, 3, 512, 512]`` and weights, as of ``HiFill``.
Network = Callable[[Tensor], tuple[Tensor, Tensor]]
#: Network, RGB ``[H, W, 3]``, hole ``[H, W]``, m → RGB ``[H, W, 3]``.
Way = Callable[[Network, Bytes, Bools, int], Bytes]

SIDE = PRESETS["places2"].side
#: Of the Gaussian that softens the mask.
_REACH, _SIGMA = 3, 1.0


def authors(network: Network, photo: Bytes, hole: Bools, by: int) -> Bytes:
    """The first author's program, step by step."""
    raw, mask = _planes(photo[..., ::-1]), _planes(hole[..., None])
    height, width = hole.shape
    large = _nearest(raw, SIDE * by) / 127.5 - 1
    small, mask = F.avg_pool2d(large, by), _nearest(mask, SIDE)
    painted, weights = network(torch.cat([small * (1 - mask), mask], dim=1))
    residual = (large - enlarged(small, by)) * (1 - _nearest(mask, SIDE * by))
    made = enlarged(painted, by) + aggregated(residual, weights, by)
    made = resized((made.clamp(-1.0, 1.0) + 1) * 127.5, height, width)
    taps = torch.from_numpy(_gaussian().astype(np.float32))[None, None]
    soft = resized(F.conv2d(mask, taps, padding=_REACH), height, width)
    return _levels(_pixels(made * soft + raw * (1 - soft)))


def atlas(network: Network, photo: Bytes, hole: Bools, by: int) -> Bytes:
    """The board's program, step by step."""
    raw = np.ascontiguousarray(photo[..., ::-1], np.float32)
    given = hole.astype(np.float32)
    mask = _by_opencv(given, (SIDE, SIDE), cv2.INTER_NEAREST)
    large = _by_opencv(raw, (SIDE * by, SIDE * by))
    small = _pixels(F.avg_pool2d(_planes(large), by))
    known = 1 - _by_opencv(given, (SIDE * by, SIDE * by), cv2.INTER_NEAREST)[..., None]
    masked, tensor = _planes(small) / 127.5 - 1, _planes(mask[..., None])
    painted, weights = network(torch.cat([masked * (1 - tensor), tensor], dim=1))
    residual = (large - _by_opencv(small, large.shape[:2])) * known
    base = _by_opencv(_pixels((painted + 1) * 127.5), large.shape[:2])
    made = np.clip(base + _pixels(aggregated(_planes(residual), weights, by)), 0, 255)
    soft = cv2.GaussianBlur(mask, (2 * _REACH + 1,) * 2, _SIGMA)
    soft = _by_opencv(np.asarray(soft, np.float32), hole.shape)[..., None]
    return _levels(_by_opencv(made, hole.shape) * soft + raw * (1 - soft))


def aggregated(residual: Tensor, weights: Tensor, by: int) -> Tensor:
    """Cells of residuals mixed as the network says; they do not overlap."""
    return pasted(weights, residual, patch=CELL * by, step=CELL * by, before=0)


def resized(x: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, as TensorFlow 1 has it: pixel i of n lies at i·size/n, and the last one is last."""
    for axis, count in ((2, height), (3, width)):
        length = x.shape[axis]
        place = torch.arange(count, dtype=torch.float32) * (torch.tensor(length) / count)
        first = place.floor().long().clamp(max=length - 1)
        share = (place - first).reshape((-1, 1) if axis == 2 else (-1,))
        low, high = (x.index_select(axis, p) for p in (first, (first + 1).clamp(max=length - 1)))
        x = low + (high - low) * share
    return x


def _nearest(x: Tensor, side: int) -> Tensor:
    """To a square, rounded down, as TensorFlow 1 has it."""
    for axis in (2, 3):
        length = x.shape[axis]
        place = torch.arange(side, dtype=torch.float32) * (torch.tensor(length) / side)
        x = x.index_select(axis, place.floor().long().clamp(max=length - 1))
    return x


def _by_opencv(x: Floats, size: tuple[int, ...], how: int = cv2.INTER_LINEAR) -> Floats:
    """``[h, w, C]`` or ``[h, w]`` to (height, width)."""
    return np.asarray(cv2.resize(x, (size[1], size[0]), interpolation=how), np.float32)


def _gaussian() -> npt.NDArray[np.float64]:
    """Taps that sum to one, ``[7, 7]``."""
    line = np.exp(-(np.arange(-_REACH, _REACH + 1) ** 2) / (2 * _SIGMA**2))
    line /= line.sum()
    return np.outer(line, line)


def _planes(pixels: npt.NDArray[np.generic]) -> Tensor:
    """``[H, W, C]`` → ``[1, C, H, W]``."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32))


def _pixels(planes: Tensor) -> Floats:
    """``[1, C, H, W]`` → ``[H, W, C]``."""
    return np.ascontiguousarray(planes[0].permute(1, 2, 0).numpy())


def _levels(pixels: Floats) -> Bytes:
    """BGR from 0 to 255 → RGB, truncated."""
    return np.clip(pixels[..., ::-1], 0, 255).astype(np.uint8)
