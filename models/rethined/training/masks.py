"""Holes as in LaMa and DF8K-Inpainting: strokes, boxes, blobs, outlines of objects.

Some lie where they hurt: across the strongest edges of the picture.
"""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Hole = npt.NDArray[np.uint8]

#: Stroke widths, as shares of the side.
THICK, THIN = (0.04, 0.15), (0.015, 0.05)


def _cover(hole: Hole) -> float:
    return cv2.countNonZero(hole) / hole.size


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
    while _cover(hole) < cover:
        point = random.uniform(0, side, 2)
        angle = random.uniform(0, 2 * np.pi)
        width = max(1, round(random.uniform(*widths) * side))
        for _ in range(random.integers(3, 9)):
            angle += random.normal(0, 0.8)
            step = np.array([np.cos(angle), np.sin(angle)]) * random.uniform(0.04, 0.16) * side
            following = np.clip(point + step, 0, side - 1)
            cv2.line(hole, point.astype(int).tolist(), following.astype(int).tolist(), 1, width)
            point = following
            if _cover(hole) >= cover:
                break
    return hole


def boxes(random: np.random.Generator, side: int, cover: float) -> Hole:
    """Upright rectangles, drawn until they cover a share of the square."""
    hole = np.zeros((side, side), np.uint8)
    while _cover(hole) < cover:
        height, width = (int(v) for v in random.uniform(0.05, 0.4, 2) * side)
        top, left = (int(v) for v in random.uniform(-0.1, 1, 2) * side)
        bottom, right = (max(edge, 0) for edge in (top + height + 1, left + width + 1))
        hole[max(top, 0) : bottom, max(left, 0) : right] = 1
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


def outline(
    random: np.random.Generator, side: int, centre: tuple[float, float], radius: float
) -> Hole:
    """A closed shape as objects have: round or long, with lobes.

    Args:
        centre: x and y, in pixels. radius: its mean, in pixels.
    """
    turn = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    reach = np.ones_like(turn)
    for wave in range(2, 7):
        reach += random.normal(0, 0.5 / wave) * np.cos(wave * turn + random.uniform(0, 2 * np.pi))
    reach = radius * reach.clip(0.25)
    stretch, tilt = random.uniform(0.5, 1), random.uniform(0, np.pi)
    x, y = reach * np.cos(turn), stretch * reach * np.sin(turn)
    points = np.stack(
        [
            centre[0] + x * np.cos(tilt) - y * np.sin(tilt),
            centre[1] + x * np.sin(tilt) + y * np.cos(tilt),
        ],
        axis=1,
    )
    hole = np.zeros((side, side), np.uint8)
    cv2.fillPoly(hole, [points.round().astype(np.int32)], 1)
    return hole


def objects(random: np.random.Generator, side: int, cover: float) -> Hole:
    """Outlines of objects, drawn until they cover a share of the square."""
    hole = np.zeros((side, side), np.uint8)
    while _cover(hole) < cover:
        x, y = (float(v) for v in random.uniform(0, side, 2))
        hole |= outline(random, side, (x, y), random.uniform(0.05, 0.2) * side)
    return hole


def across_edges(random: np.random.Generator, image: npt.NDArray[np.uint8]) -> Hole:
    """Bars and outlines over the longest, strongest edges of a picture.

    Args:
        image: RGB ``[side, side, 3]``.
    """
    side = len(image)
    strength = _edges(image)
    hole = np.zeros((side, side), np.uint8)
    wanted, chance = random.uniform(0.08, 0.35), strength.ravel() / strength.sum()
    while _cover(hole) < wanted:
        row, column = divmod(int(random.choice(len(chance), p=chance)), len(strength))
        centre = ((column + 0.5) * side / len(strength), (row + 0.5) * side / len(strength))
        if random.random() < 0.5:
            hole |= outline(random, side, centre, random.uniform(0.04, 0.15) * side)
            continue
        angle, half = random.uniform(0, np.pi), random.uniform(0.05, 0.3) * side
        step = np.array([np.cos(angle), np.sin(angle)]) * half
        ends = [(np.array(centre) + sign * step).round().astype(int).tolist() for sign in (-1, 1)]
        cv2.line(hole, ends[0], ends[1], 1, max(1, round(random.uniform(0.02, 0.1) * side)))
    return hole


def _edges(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """How much of an edge passes each cell of a 32×32 grid: coherent gradients, not texture."""
    grey = cv2.cvtColor(cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA),
                        cv2.COLOR_RGB2GRAY).astype(np.float32)  # fmt: skip
    x, y = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    # The structure tensor's eigenvalues differ where gradients around agree.
    xx, yy, xy = (cv2.GaussianBlur(part, (0, 0), 3) for part in (x * x, y * y, x * y))
    coherent = np.sqrt((xx - yy) ** 2 + 4 * xy**2)
    cells = cv2.resize(coherent, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float64)
    return np.asarray(cells + 1e-3 * cells.mean() + 1e-9)


def training_hole(random: np.random.Generator, image: npt.NDArray[np.uint8]) -> Hole:
    """A hole as training sees them: 5–50 % cover, the widest kinds 30–50 %.

    Args:
        image: RGB ``[side, side, 3]``, in which the hole is to lie.
    """
    side = len(image)
    wide = (0.15, 0.3)
    kinds: tuple[Callable[[], Hole], ...] = (
        lambda: strokes(random, side, random.uniform(0.05, 0.5), THIN),
        lambda: strokes(random, side, random.uniform(0.05, 0.5)),
        lambda: strokes(random, side, random.uniform(0.05, 0.5)),
        lambda: strokes(random, side, random.uniform(0.3, 0.5), wide),
        lambda: boxes(random, side, random.uniform(0.05, 0.4)),
        lambda: blobs(random, side, random.uniform(0.05, 0.4)),
        lambda: objects(random, side, random.uniform(0.05, 0.4)),
        lambda: across_edges(random, image),
    )
    return kinds[random.integers(len(kinds))]()
