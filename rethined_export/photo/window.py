"""The pixels that an artifact takes, and where a photo has them."""

from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt


class Window(NamedTuple):
    """``height`` × ``width`` pixels."""

    height: int
    width: int

    @classmethod
    def square(cls, side: int) -> Self:
        """As high as wide."""
        return cls(side, side)

    def __str__(self) -> str:
        """``512`` of a square, else ``WIDTHxHEIGHT``."""
        return str(self.height) if self.height == self.width else f"{self.width}x{self.height}"


def reflected(start: int, side: int, length: int) -> npt.NDArray[np.intp]:
    """Indices start..start+side, those outside 0..length reflected, as often as it takes."""
    inside = np.arange(max(start, 0), min(start + side, length))
    return np.pad(inside, (max(-start, 0), max(start + side - length, 0)), mode="reflect")
