"""Free-form holes as in LaMa and DF8K-Inpainting: brush strokes, boxes, irregular blobs."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Hole = npt.NDArray[np.uint8]

#: Stroke widths, as shares of the side.
THICK, THIN = (0.04, 0.15), (0.015, 0.05)


def strokes(
    random: np.random.Generator, side: int, cover: float, widths: tuple[float, float] = THICK
) -> Hole:
    """Brush strokes that turn, drawn until they cover a share of the square.

    Args:
        random: source of every choice. side: in pixels.
        cover: 0 to 1, reached and passed by less than one segment of a stroke.
        widths: least and most width of a stroke, as shares of the side.

    Returns:
        ``[side, side]``, 1 = hole.
    """
    hole = np.zeros((side, side), np.uint8)
    while hole.mean() < cover:
        point = random.uniform(0, side, 2)
        angle = random.uniform(0, 2 * np.pi)
        width = max(1, round(random.uniform(*widths) * side))
        for _ in range(random.integers(3, 9)):
            angle += random.normal(0, 0.8)
            step = np.array([np.cos(angle), np.sin(angle)]) * random.uniform(0.04, 0.16) * side
            following = np.clip(point + step, 0, side - 1)
            cv2.line(hole, point.astype(int).tolist(), following.astype(int).tolist(), 1, width)
            point = following
            if hole.mean() >= cover:
                break
    return hole


def boxes(random: np.random.Generator, side: int, cover: float) -> Hole:
    """Upright rectangles, drawn until they cover a share of the square."""
    hole = np.zeros((side, side), np.uint8)
    while hole.mean() < cover:
        height, width = (int(v) for v in random.uniform(0.05, 0.4, 2) * side)
        top, left = (int(v) for v in random.uniform(-0.1, 1, 2) * side)
        hole[max(top, 0) : top + height + 1, max(left, 0) : left + width + 1] = 1
    return hole


def blobs(random: np.random.Generator, side: int, cover: float) -> Hole:
    """Irregular patches: where a smooth field is highest, exactly the share asked for."""
    cells = int(random.integers(4, 9))
    height = cv2.resize(
        random.standard_normal((cells, cells), np.float32),
        (side, side),
        interpolation=cv2.INTER_CUBIC,
    )
    return (height > np.quantile(height, 1 - cover)).astype(np.uint8)


def training_hole(random: np.random.Generator, side: int) -> Hole:
    """A hole as training sees them: 5–50 % cover, the widest kinds 30–50 %."""
    wide = (0.15, 0.3)
    kinds: tuple[Callable[[], Hole], ...] = (
        lambda: strokes(random, side, random.uniform(0.05, 0.5), THIN),
        lambda: strokes(random, side, random.uniform(0.05, 0.5)),
        lambda: strokes(random, side, random.uniform(0.05, 0.5)),
        lambda: strokes(random, side, random.uniform(0.3, 0.5), wide),
        lambda: boxes(random, side, random.uniform(0.05, 0.4)),
        lambda: blobs(random, side, random.uniform(0.05, 0.4)),
    )
    return kinds[random.integers(len(kinds))]()
