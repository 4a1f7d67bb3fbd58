"""Options of DFNet's artifacts."""

from dataclasses import dataclass, replace
from typing import Self

from rethined_export.models.dfnet import PRESETS, STRIDE
from rethined_export.photo.window import Window
from rethined_export.recipes.options import Options, io_option, option, size, window_of

_SIZE = size(multiple=STRIDE, least=STRIDE, most=2048)


@dataclass(frozen=True)
class DfNetOptions(Options):
    """What can be chosen.

    Attributes:
        size: None: as the preset was trained.
    """

    preset: str = option("places2", "weights' training: places2 (default) or celeba",
                         choices=PRESETS)  # fmt: skip
    size: str | None = option(
        None,
        "pixels it takes, multiples of 256 (default: places2 512x512, celeba 256x256)",
        parse=_SIZE,
        metavar="WIDTHxHEIGHT",
    )
    io: str = io_option("the network's own four channels in, BGR out")

    @property
    def window(self) -> Window:
        """The pixels an artifact takes."""
        if self.size is None:
            return Window.square(PRESETS[self.preset].side)
        return window_of(self.size)

    def sized(self, window: Window) -> Self:
        """The same for another window."""
        return replace(self, size=_SIZE(f"{window.width}x{window.height}"))

    def check(self) -> None:
        """Refuse sizes that the network cannot take."""
        super().check()
        if self.size is not None:
            _SIZE(self.size)
