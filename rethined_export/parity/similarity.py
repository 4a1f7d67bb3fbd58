"""SSIM of two images, in a hole."""

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
#: Window and constants of the paper (Wang et al., 2004), for values in [0, 1].
_TAPS, _SIGMA, _C1, _C2 = 11, 1.5, 0.01**2, 0.03**2


def similarity(made: Floats, truth: Floats, hole: Bools) -> float:
    """Mean of the SSIM map over a hole; images are clipped to [0, 1], as they will be shown.

    Args:
        made, truth: ``[1, C, H, W]``. hole: the same shape, not empty.
    """
    total = 0.0
    for plane, (x, y) in enumerate(zip(made[0], truth[0], strict=True)):
        inside = hole[0, plane]
        total += float(_map(np.clip(x, 0, 1), np.clip(y, 0, 1))[inside].sum(dtype=np.float64))
    return total / int(hole.sum())


def _map(x: Floats, y: Floats) -> Floats:
    """SSIM around each pixel of two planes ``[H, W]``."""
    mean_x, mean_y = _blurred(x), _blurred(y)
    both = mean_x * mean_y
    squares = mean_x**2 + mean_y**2
    shared = _blurred(x * y) - both
    spread = _blurred(x * x) + _blurred(y * y) - squares
    made = (2 * both + _C1) * (2 * shared + _C2) / ((squares + _C1) * (spread + _C2))
    return np.asarray(made, np.float32)


def _blurred(plane: Floats) -> Floats:
    made = cv2.GaussianBlur(
        np.ascontiguousarray(plane), (_TAPS, _TAPS), _SIGMA, borderType=cv2.BORDER_REFLECT_101
    )
    return np.asarray(made, np.float32)
