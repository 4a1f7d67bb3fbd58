"""The picture that golden values of MI-GAN and DeepFill were computed on; too noisy to store."""

import zlib

import numpy as np
import numpy.typing as npt


def pattern(height: int, width: int, seed: int, crc: int) -> npt.NDArray[np.uint8]:
    """Waves and noise, RGB ``[H, W, 3]``.

    Args:
        crc: CRC-32 of its bytes, lest another picture be taken for it.
    """
    x, y = np.arange(width)[:, None] / width, np.arange(height)[:, None, None] / height
    shift, channel = 0.13 * seed, np.arange(3)
    turn = 2 * np.pi
    waves = np.sin(turn * (2 * x + 0.5 * channel / 3 + shift)) * np.cos(
        turn * (1.5 * y - 0.25 * channel / 3)
    )
    ripples = np.sin(turn * (5 * x * (channel + 1) / 3 + 3 * y + shift))
    noise = np.random.default_rng(1000 + seed).standard_normal((height, width, 3))
    picture = np.rint(255 * np.clip(0.5 + 0.25 * waves + 0.15 * ripples + 0.06 * noise, 0, 1))
    made = picture.astype(np.uint8)
    assert zlib.crc32(made.tobytes()) == crc, "not the golden values' picture"
    return made
