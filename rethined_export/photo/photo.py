"""A photo in memory, with what its file says about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.unsignedinteger[Any]]
#: What the channel after the colours is: alpha, alpha that the colours are multiplied by, or a
#: channel that a TIFF does not explain.
Alpha = Literal["straight", "premultiplied", "unspecified"]


@dataclass(frozen=True)
class Density:
    """Pixels across and down a unit of length; "none": the shape of a pixel only."""

    x: float
    y: float
    unit: Literal["inch", "cm", "metre", "none"]

    def per_metre(self) -> tuple[int, int]:
        """Both, as whole numbers."""
        factor = {"inch": 1 / 0.0254, "cm": 100, "metre": 1, "none": 1}[self.unit]
        return round(self.x * factor), round(self.y * factor)

    def per_inch(self) -> tuple[float, float]:
        """Both."""
        factor = {"inch": 1, "cm": 2.54, "metre": 0.0254, "none": 1}[self.unit]
        return self.x * factor, self.y * factor


@dataclass(frozen=True)
class Metadata:
    """What a file says beside pixels, profile and EXIF.

    Attributes:
        xmp: an XMP packet, whose orientation is upright.
        texts: keys and what they say; a comment's key is "Comment".
        colour: PNG's own colour chunks (gAMA, cHRM, cICP, sRGB ...), by name.
        others: what no format here can carry on, in words.
    """

    xmp: bytes | None = None
    density: Density | None = None
    texts: tuple[tuple[str, str], ...] = ()
    colour: tuple[tuple[bytes, bytes], ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Photo:
    """An upright photo.

    Attributes:
        pixels: `[H, W, C]`, uint8 or uint16, C in 1 (grey), 2 (grey, alpha), 3 (RGB), 4 (RGBA).
        icc: the embedded colour profile, which describes `pixels`.
        exif: EXIF without orientation.
        alpha: what the last of 2 or 4 channels is.
        about: what else the file says.
        changed: how `pixels` differ from what the file stores, in words.
        frames: pictures in the file. frame: which of them this is, 1 being the first.
    """

    pixels: Pixels
    icc: bytes | None = None
    exif: bytes | None = None
    alpha: Alpha = "straight"
    about: Metadata = field(default_factory=Metadata)
    changed: tuple[str, ...] = ()
    frames: int = 1
    frame: int = 1

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
        """Whether the last channel is none of the colours."""
        return self.pixels.shape[2] in (2, 4)

    @property
    def colours(self) -> int:
        """How many channels come before alpha: 1 (grey) or 3 (RGB)."""
        return 3 if self.pixels.shape[2] > 2 else 1

    @property
    def full(self) -> int:
        """The value of white: 255 or 65535."""
        return int(np.iinfo(self.pixels.dtype).max)
