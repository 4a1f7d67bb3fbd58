"""Lights in the dark: skies with stars, streets at night."""

import cv2
import numpy as np

from rethined_export.models.rethined.training.procedural.noise import Floats, field, palette

#: Light is as rare as it is bright: the exponent of starlight, a little under that of real skies.
_RARITY = 1.3


def night(random: np.random.Generator, side: int) -> Floats:
    """A dark ground with points and smudges of light, ``[side, side, 3]``.

    Without such images a network spreads every light that touches a hole into it.
    """
    ground = palette(random, 1)[0] * random.uniform(0.02, 0.3)
    glow = np.exp(random.uniform(0, 1) * field(random, side, random.uniform(1, 2.5)))
    canvas = np.asarray(ground * glow[:, :, None], np.float32)
    for _ in range(random.integers(2, 6)):
        canvas += _lights(random, side)
    return canvas


def _lights(random: np.random.Generator, side: int) -> Floats:
    """Lights of one size and shape."""
    size = side / 512 * random.uniform(0.5, 1) * 2 ** random.uniform(0, 3)
    count = int(random.uniform(50, 1500) / size)
    brightness = 0.05 * (1 + random.pareto(_RARITY, (count, 1)))
    colours = palette(random, 8)[random.integers(0, 8, count)]
    points = np.zeros((side, side, 3), np.float32)
    y, x = random.integers(0, side, (2, count))
    points[y, x] = np.minimum(brightness, 2) * colours / colours.max(1, keepdims=True)
    wide = size * random.uniform(0.5, 1)
    spread = cv2.GaussianBlur(points, (0, 0), size, sigmaY=wide)
    return np.asarray(2 * np.pi * size * wide * spread, np.float32)
