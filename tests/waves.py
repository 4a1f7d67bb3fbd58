"""The picture that golden values of DFNet and the two-stage system were computed on.

Waves and noise: too noisy to store.
"""

import zlib

import numpy as np
import numpy.typing as npt


def waves(height: int, width: int, seed: int, crc: int) -> npt.NDArray[np.uint8]:
    """RGB ``[3, H, W]``.

    Args:
        crc: CRC-32 of its bytes, lest another picture be taken for it.
    """
    u = (np.arange(width) + 0.5) / width
    v = (np.arange(height)[:, None] + 0.5) / height
    turn, shift = 2 * np.pi, 0.37 * seed
    planes = (
        np.sin(turn * (1.5 * u + 0.5 * v) + shift),
        np.sin(turn * (0.7 * v - 1.2 * u) + 1 + 2 * shift),
        np.cos(turn * (2 * u * v + 0.3) - shift),
    )
    noise = np.random.default_rng(1000 + seed).standard_normal((3, height, width))
    picture = 0.5 + 0.35 * np.stack(planes) + 0.05 * noise
    made = np.clip(np.rint(255 * picture), 0, 255).astype(np.uint8)
    assert zlib.crc32(made.tobytes()) == crc, "not the golden values' picture"
    return made
