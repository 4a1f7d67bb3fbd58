"""Objects in front of each other, with long smooth outlines and soft edges."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from rethined_export.models.rethined.training.procedural.noise import Floats, field, palette, ramp

Points = npt.NDArray[np.float64]

#: Bits of sub-pixel position in the drawing calls.
_SHIFT = 4


@dataclass(frozen=True)
class Paint:
    """What objects of one image are painted with.

    Attributes:
        colours: ``[n, 3]``. textures: grey fields ``[side, side]``.
    """

    colours: Floats
    textures: list[Floats]


def regions(random: np.random.Generator, canvas: Floats) -> None:
    """Split the canvas along level lines of smooth fields, in place."""
    side = len(canvas)
    for colour in palette(random, int(random.integers(1, 5))):
        height = field(random, side, random.uniform(1.8, 3.0))
        level = random.uniform(-1.2, 1.2)
        steep = side * random.uniform(0.03, 0.3)
        alpha = np.clip(0.5 + (height - level) * steep, 0, 1)[:, :, None]
        canvas += alpha * (colour - canvas)


def leaves(random: np.random.Generator, canvas: Floats, paint: Paint, count: int) -> None:
    """Paint objects whose sizes follow the ``r^-3`` law of photographs, in place."""
    side = len(canvas)
    least, most = random.uniform(0.02, 0.08), random.uniform(0.25, 0.6)
    u = random.uniform(0, 1, count)
    radii = side / np.sqrt(u / least**2 + (1 - u) / most**2)
    for radius in radii if random.random() < 0.5 else np.sort(radii)[::-1]:
        centre = random.uniform(-0.1, 1.1, 2) * side
        _object(random, canvas, centre + outline(random, radius), paint)


def outline(random: np.random.Generator, radius: float) -> Points:
    """Corners of a random shape around the origin, ``[n, 2]``."""
    kind = random.integers(4)
    turn = random.uniform(0, 2 * np.pi)
    if kind == 0:  # a polygon
        angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(3, 7)))
        reach = radius * random.uniform(0.7, 1.2, len(angles))
    elif kind == 1:  # a box or a bar
        flat = float(random.choice([random.uniform(0.5, 1), random.uniform(0.05, 0.3)]))
        corner = np.arctan(flat)
        angles = turn * random.integers(2) + np.array([corner, np.pi - corner] * 2)
        angles[2:] += np.pi
        reach = np.full(4, radius * 1.3)
    else:  # an ellipse or a blob
        angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        reach = np.full(64, radius)
        if kind == 3:
            for harmonic in range(2, 6):
                wave = np.cos(harmonic * angles + random.uniform(0, 2 * np.pi))
                reach *= 1 + random.uniform(0, 0.6) / harmonic * wave
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * reach[:, None]
    if kind > 1:
        points *= [1, random.uniform(0.3, 1)]
        points = points @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return points


def _object(random: np.random.Generator, canvas: Floats, points: Points, paint: Paint) -> None:
    """One object: a colour, a shading across it, often a texture, sometimes a soft rim."""
    side = len(canvas)
    margin = 3
    low = np.clip(np.floor(points.min(0)).astype(int) - margin, 0, side)
    high = np.clip(np.ceil(points.max(0)).astype(int) + margin, 0, side)
    width, height = high - low
    if min(width, height) < 2:
        return
    alpha = np.zeros((height, width), np.uint8)
    fixed = np.round((points - low) * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(alpha, [fixed], 255, cv2.LINE_AA, _SHIFT)
    if random.random() < 0.2:
        alpha = cv2.GaussianBlur(alpha, (0, 0), random.uniform(0.5, 3))
    cover = (alpha.astype(np.float32) / 255)[:, :, None]
    shade = random.normal(0, 0.2) * ramp(random, height, width)
    if random.random() < 0.7:
        grey = paint.textures[random.integers(len(paint.textures))]
        y, x = (int(random.integers(side - size + 1)) for size in (height, width))
        shade = shade + random.exponential(0.07) * grey[y : y + height, x : x + width]
    colour = paint.colours[random.integers(len(paint.colours))]
    view = canvas[low[1] : high[1], low[0] : high[0]]
    view += cover * (colour + shade[:, :, None] - view)


def lines(random: np.random.Generator, canvas: Floats) -> None:
    """Wires, cracks and rows of letter-like marks, in place."""
    side = len(canvas)
    colours = palette(random, 3)
    for _ in range(random.integers(1, 8)):
        colour = colours[random.integers(3)].tolist()
        width = max(1, round(side * random.exponential(0.006)))
        if random.random() < 0.6:
            start, step = random.uniform(0, side, 2), random.normal(0, 0.5 * side, 2)
            points = start + np.linspace(-1, 1, 24)[:, None] * step
            bend = random.normal(0, 0.15) * np.linspace(-1, 1, 24)[:, None] ** 2
            _stroke(canvas, points + bend * step[::-1] * [-1, 1], colour, width)
        else:
            _letters(random, canvas, colour, width)


def _letters(random: np.random.Generator, canvas: Floats, colour: list[float], width: int) -> None:
    side = len(canvas)
    size = side * random.uniform(0.02, 0.08)
    pen = random.uniform(0, 0.6, 2) * side
    for _ in range(random.integers(3, 20)):
        _stroke(canvas, pen + random.uniform(0, size, (random.integers(2, 5), 2)), colour, width)
        pen += np.array([1.2 * size, 0])


def _stroke(canvas: Floats, points: Points, colour: list[float], width: int) -> None:
    fixed = np.round(points * (1 << _SHIFT)).astype(np.int32)
    cv2.polylines(canvas, [fixed], False, colour, width, cv2.LINE_AA, _SHIFT)
