"""One procedural image: a ground, objects on it, marks, light, a camera."""

import numpy as np
import numpy.typing as npt

from rethined_export.models.rethined.training.procedural.camera import light, shoot
from rethined_export.models.rethined.training.procedural.night import night
from rethined_export.models.rethined.training.procedural.noise import Floats, field, palette
from rethined_export.models.rethined.training.procedural.shapes import (
    Paint,
    leaves,
    lines,
    regions,
)
from rethined_export.models.rethined.training.procedural.textures import in_perspective, texture

#: Share of images that are taken in the dark.
_NIGHTS = 0.07


def scene(seed: tuple[int, ...], side: int) -> npt.NDArray[np.uint8]:
    """Draw the image of a seed.

    Args:
        seed: the same numbers give the same image. side: of the square, in pixels.

    Returns:
        RGB ``[side, side, 3]``.
    """
    random = np.random.default_rng(seed)
    canvas = night(random, side) if random.random() < _NIGHTS else _day(random, side)
    if random.random() < 0.15:  # black and white film
        canvas = np.repeat(canvas.mean(2, keepdims=True), 3, axis=2)
    return np.round(shoot(random, canvas) * 255).astype(np.uint8)


def _day(random: np.random.Generator, side: int) -> Floats:
    """Textures, surfaces and objects under uneven light."""
    colours = palette(random, int(random.integers(3, 9)))
    canvas = _ground(random, side, colours[0])
    kind = random.random()
    if kind < 0.35:  # one texture, the whole frame
        canvas += _tinted(random, in_perspective(random, texture(random, side)), 0.12)
        if random.random() < 0.5:
            canvas += _tinted(random, texture(random, side), 0.04)
    else:
        if random.random() < 0.6:
            regions(random, canvas)
        paint = Paint(colours, [in_perspective(random, texture(random, side)) for _ in range(3)])
        if kind > 0.5:
            leaves(random, canvas, paint, int(2 + random.exponential(25)))
        if random.random() < 0.3:
            lines(random, canvas)
    light(random, canvas)
    return canvas


def _ground(random: np.random.Generator, side: int, colour: Floats) -> Floats:
    """A colour that drifts: sky, wall, skin, something out of focus."""
    canvas = np.broadcast_to(colour, (side, side, 3)).copy()
    drift = field(random, side, random.uniform(0.8, 2.6))
    return canvas + _tinted(random, drift, float(random.exponential(0.1)))


def _tinted(random: np.random.Generator, grey: Floats, strength: float) -> Floats:
    """A grey field as changes of colour, mostly of light."""
    tint = np.array([1, 1, 1]) + random.normal(0, 0.15, 3)
    contrast = strength * random.uniform(0.4, 1.6)
    return (contrast * grey[:, :, None] * tint).astype(np.float32)
