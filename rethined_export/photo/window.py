"""The pixels that an artifact takes."""

from typing import NamedTuple, Self


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
