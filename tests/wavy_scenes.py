"""The picture that several models' golden values were computed on; too noisy to store."""

import zlib

import numpy as np
import numpy.typing as npt


def wavy(height: int, width: int, seed: int, crc: int) -> npt.NDArray[np.uint8]:
    """Slow waves and noise, RGB ``[3, H, W]``.

    Args:
        crc: CRC-32 of its bytes, lest another picture be taken for it.
    """
    u, v = (np.arange(width) + 0.5) / width, (np.arange(height)[:, None] + 0.5) / height
    shift, turn = 0.37 * seed, 2 * np.pi
    red = np.sin(turn * (1.5 * u + 0.5 * v) + shift)
    green = np.sin(turn * (0.7 * v - 1.2 * u) + 1 + 2 * shift)
    blue = np.cos(turn * (2 * u * v + 0.3) - shift)
    noise = np.random.default_rng(1000 + seed).standard_normal((3, height, width))
    values = 255 * (0.5 + 0.35 * np.stack([red, green, blue]) + 0.05 * noise)
    made = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    assert zlib.crc32(made.tobytes()) == crc, "not the golden values' picture"
    return made
