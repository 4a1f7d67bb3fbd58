"""A photo in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, eq=False)
class Photo:
    """An upright photo.

    pixels: `[H, W, C]`, uint8 or uint16, C in 1 (grey), 2 (grey, alpha), 3 (RGB), 4 (RGBA).
    icc: the embedded colour profile, which describes `pixels`. exif: EXIF without orientation.
    """

    pixels: Pixels
    icc: bytes | None = None
    exif: bytes | None = None

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.pixels.shape[2] in (2, 4)

    @property
    def colours(self) -> int:
        """How many channels come before alpha: 1 (grey) or 3 (RGB)."""
        return 3 if self.pixels.shape[2] > 2 else 1

    @property
    def full(self) -> int:
        """The value of white: 255 or 65535."""
        return int(np.iinfo(self.pixels.dtype).max)
