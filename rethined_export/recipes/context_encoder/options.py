"""Options of the context encoder's artifacts."""

from dataclasses import dataclass
from typing import Self

from rethined_export.errors import UserError
from rethined_export.models.context_encoder import CENTRE, OVERLAP, PRESETS, SIDE
from rethined_export.photo.window import Window
from rethined_export.recipes.options import Options, io_option, option


@dataclass(frozen=True)
class ContextEncoderOptions(Options):
    """What can be chosen; the size is the network's only one."""

    preset: str = option("centre", "network; there is one (centre)", choices=PRESETS)
    io: str = io_option("the network's own image to its centre")

    @property
    def window(self) -> Window:
        """The network's square."""
        return Window.square(SIDE)

    @property
    def middle(self) -> int:
        """What it was trained to fill; the band around it is known, and painted too."""
        return CENTRE - 2 * OVERLAP

    def sized(self, window: Window) -> Self:
        """Itself."""
        if window != self.window:
            raise UserError(f"the context encoder works at {self.window} squared, not {window}")
        return self
