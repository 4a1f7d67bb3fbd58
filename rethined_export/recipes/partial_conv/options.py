"""Options of the partial convolution network's artifacts."""

from dataclasses import dataclass

from rethined_export.models.partial_conv import PRESETS
from rethined_export.photo.window import Window
from rethined_export.recipes.options import SizedOptions, io_option, option, size, window_of

_LARGEST = 2048


@dataclass(frozen=True)
class PartialConvOptions(SizedOptions):
    """What can be chosen."""

    preset: str = option("256", "network of 7 layers (256, default) or of 8 (512)", choices=PRESETS)
    size: str = option(
        "",
        "pixels it takes, multiples of 128 (preset 512: of 256; default the preset's square)",
        parse=size(multiple=1, least=128, most=_LARGEST),
        metavar="WIDTHxHEIGHT",
    )
    io: str = io_option("the network's own colours and mask")

    @property
    def window(self) -> Window:
        """The pixels an artifact takes."""
        if self.size:
            return window_of(self.size)
        return Window.square(PRESETS[self.preset].trained_side)

    def check(self) -> None:
        """Refuse sizes that the network cannot take."""
        super().check()
        if self.size:
            multiple = PRESETS[self.preset].multiple
            size(multiple, least=multiple, most=_LARGEST)(self.size)
