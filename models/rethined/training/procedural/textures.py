"""Stationary textures: grey fields of mean 0 and deviation 1."""

from collections.abc import Callable

import cv2
import numpy as np

from rethined_export.models.rethined.training.procedural.noise import Floats, field, unit

Texture = Callable[[np.random.Generator, int], Floats]


def texture(random: np.random.Generator, side: int) -> Floats:
    """One texture of a random kind, ``[side, side]``."""
    kinds: tuple[Texture, ...] = (grain, grain, grating, bricks, weave, pebbles, blades, foliage)
    return kinds[random.integers(len(kinds))](random, side)


def grain(random: np.random.Generator, side: int) -> Floats:
    """Noise of a random spectrum and stretch: plaster, sand, wood, water."""
    stretch = float(random.choice([1, 1, random.uniform(2, 12)]))
    noise = field(random, side, random.uniform(0.4, 1.6), int(random.integers(3, 24)), stretch)
    if stretch > 1:
        return turned(noise, random.uniform(0, 180))
    return noise


def grating(random: np.random.Generator, side: int) -> Floats:
    """Parallel stripes, round or sharp, a little bent."""
    phase = _phase(random, side, random.uniform(0, np.pi), side / random.uniform(8, 64))
    phase += random.uniform(0, 2) * field(random, side, 2.0)
    sharp = random.uniform(1, 12)
    return unit(np.tanh(sharp * np.sin(phase)).astype(np.float32))


def bricks(random: np.random.Generator, side: int) -> Floats:
    """Rows of stones with joints, each row shifted against the one above."""
    height = int(side / random.uniform(8, 32))
    width = int(height * random.uniform(1.5, 3.5))
    joint = max(1, round(height * random.uniform(0.04, 0.15)))
    canvas = np.full((side, side), random.uniform(-3, 1), np.float32)
    for row, top in enumerate(range(0, side, height)):
        shift = (row % 2) * width // 2
        for left in range(-shift, side, width):
            shade = random.normal(0, 1)
            y, x = np.s_[top + joint : top + height], np.s_[max(left + joint, 0) : left + width]
            canvas[y, x] = shade
    rough = random.uniform(0.1, 0.8) * field(random, side, 0.8, 16)
    return turned(unit(canvas + rough), random.choice([0, 90, random.uniform(0, 180)]))


def weave(random: np.random.Generator, side: int) -> Floats:
    """Threads over and under each other."""
    period = side / random.uniform(10, 60)
    angle = random.uniform(0, np.pi)
    warp, weft = (_phase(random, side, angle + turn, period) for turn in (0, np.pi / 2))
    over = np.sin(warp / 2) * np.sin(weft / 2) > 0
    return unit(np.where(over, np.sin(warp), np.sin(weft)).astype(np.float32))


def pebbles(random: np.random.Generator, side: int) -> Floats:
    """Cells around random points, each of its own shade and darker at its rim."""
    count = int(random.uniform(60, 3000))
    seeds = np.ones((side, side), np.uint8)
    seeds[random.integers(0, side, count), random.integers(0, side, count)] = 0
    distance, labels = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    shade = random.normal(0, 1, labels.max() + 1).astype(np.float32)[labels]
    rim = distance * np.sqrt(count) / side
    return unit((shade - random.uniform(0, 5) * rim).astype(np.float32))


def blades(random: np.random.Generator, side: int) -> Floats:
    """Short strokes in nearly one direction: grass, fur, hair."""
    canvas = np.zeros((side, side), np.float32)
    main, spread = random.uniform(0, np.pi), random.uniform(0.05, 0.7)
    length = side * random.uniform(0.02, 0.12)
    width = max(1, round(side * random.uniform(0.002, 0.008)))
    count = int(min(2500, 3 * side * side / (length * width)))
    starts = random.uniform(-length, side + length, (count, 2))
    angles = random.normal(main, spread, count)
    ends = starts + length * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    shades = random.normal(0, 1, count)
    for start, end, shade in zip(starts.astype(int), ends.astype(int), shades, strict=True):
        cv2.line(canvas, start.tolist(), end.tolist(), float(shade), width)
    return unit(canvas)


def foliage(random: np.random.Generator, side: int) -> Floats:
    """Small leaves over each other, larger ones below."""
    canvas = np.zeros((side, side), np.float32)
    largest = side * random.uniform(0.02, 0.06)
    for size in np.sort(random.uniform(0.25, 1, 700))[::-1] * largest:
        axes = max(1, round(size)), max(1, round(size * random.uniform(0.3, 0.7)))
        centre = random.integers(0, side, 2).tolist()
        shade = float(random.normal(0, 1))
        cv2.ellipse(canvas, centre, axes, random.uniform(0, 360), 0, 360, shade, -1)
    return unit(canvas)


def turned(canvas: Floats, degrees: float) -> Floats:
    """The middle of the canvas turned and enlarged until it fills the frame again."""
    side = len(canvas)
    grow = abs(np.cos(np.radians(degrees))) + abs(np.sin(np.radians(degrees)))
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), degrees, grow)
    return np.asarray(cv2.warpAffine(canvas, matrix, (side, side)), np.float32)


def in_perspective(random: np.random.Generator, canvas: Floats) -> Floats:
    """The canvas seen at a slant, filling the frame."""
    side = len(canvas)
    square = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    # Corners pulled outwards by unequal amounts: the frame lies inside the slanted square.
    out = random.uniform(0, 0.8, (4, 2)) * side
    away = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    seen = (square + away * out).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(square, seen)
    return np.asarray(cv2.warpPerspective(canvas, matrix, (side, side)), np.float32)


def _phase(random: np.random.Generator, side: int, angle: float, period: float) -> Floats:
    """Phase of a plane wave, ``[side, side]``."""
    y, x = np.ogrid[:side, :side]
    wave = (np.cos(angle) * x + np.sin(angle) * y) * 2 * np.pi / period
    return np.asarray(wave + random.uniform(0, 2 * np.pi), np.float32)
