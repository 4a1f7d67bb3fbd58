"""Random fields and colours with the statistics of photographs."""

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

#: Directions of colour in photographs, strongest first: light, yellow to blue, red to green.
_AXES = np.array([[1, 1, 1], [1, 0.3, -1.3], [1, -1.2, 0.2]], np.float32)
_SPREAD = np.array([0.24, 0.07, 0.035], np.float32)


def field(
    random: np.random.Generator, side: int, slope: float, coarsest: int = 2, stretch: float = 1
) -> Floats:
    """Noise whose amplitude falls with frequency as ``f^-slope``, ``[side, side]``, deviation 1.

    Args:
        slope: 1 is the spectrum of photographs, less is rougher.
        coarsest: cells along a side of the first octave.
        stretch: how much longer the grain is along x than along y.
    """
    total = np.zeros((side, side), np.float32)
    cells = coarsest
    while cells <= side:
        shape = (cells, max(2, round(cells / stretch)))
        octave = random.standard_normal(shape, np.float32)
        # Octaves of white noise have equal energy at slope 1.
        weight = (coarsest / cells) ** (slope - 1)
        total += weight * cv2.resize(octave, (side, side), interpolation=cv2.INTER_CUBIC)
        cells *= 2
    return unit(total)


def unit(values: Floats) -> Floats:
    """Mean 0, deviation 1."""
    spread = float(values.std())
    return ((values - values.mean()) / max(spread, 1e-6)).astype(np.float32)


def ramp(random: np.random.Generator, height: int, width: int) -> Floats:
    """A linear gradient in a random direction, ``[height, width]``, from −½ to ½ or less."""
    angle = random.uniform(0, 2 * np.pi)
    y, x = np.ogrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j]
    return np.asarray(np.cos(angle) * x * 0.7 + np.sin(angle) * y * 0.7, np.float32)


def palette(random: np.random.Generator, count: int) -> Floats:
    """Colours that could share a photograph, ``[count, 3]`` in [0, 1]."""
    centre = random.normal(0, 0.5, 3) * _SPREAD
    chroma = random.uniform(0.1, 2.0)
    own = random.normal(0, 1, (count, 3)) * _SPREAD * [random.uniform(0.5, 1.3), chroma, chroma]
    return np.clip(0.45 + (centre + own) @ _AXES, 0.01, 0.99).astype(np.float32)
