"""Shapes of the HiFill network, and its one preset."""

from dataclasses import dataclass

#: Side of the cell of the network's image that one position of attention stands for, in pixels.
CELL = 16


@dataclass(frozen=True)
class HiFillConfig:
    """Everything that decides the shapes of the weights and the forward pass.

    Attributes:
        preset: its name: what the published weights were trained on.
        side: of the square that the network works on, in pixels.
        width: channels at its larger maps.
    """

    preset: str
    side: int = 512
    width: int = 32

    @property
    def grid(self) -> int:
        """Positions of attention along a side."""
        return self.side // CELL

    def scale(self, height: int, width: int) -> int:
        """How many times as large an image is as the network's.

        Raises:
            ValueError: it is no square, or not so many times as large.
        """
        if height != width or height % self.side or not height:
            raise ValueError(
                f"HiFill cannot take {width}×{height}: squares of a multiple of {self.side}"
            )
        return height // self.side


PRESETS: dict[str, HiFillConfig] = {"places2": HiFillConfig("places2")}
