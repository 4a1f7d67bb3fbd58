"""Options of DeepFill's artifacts."""

from dataclasses import dataclass

from rethined_export.errors import UserError
from rethined_export.models.deepfill import PRESETS
from rethined_export.models.deepfill.config import POSITION
from rethined_export.recipes.options import SizedOptions, io_option, option, size

_SIZE = size(multiple=POSITION, least=64, most=1024)
#: Of a window: attention's tables of all positions with all others are 256 MB there, and grow with
#: its square.
_MOST_PIXELS = 1024 * 512


@dataclass(frozen=True)
class DeepfillOptions(SizedOptions):
    """What can be chosen."""

    preset: str = option("v2-mmagic", "network and port (default v2-mmagic)", choices=PRESETS)
    size: str = option(
        "512x512",
        "pixels it takes, multiples of 8 (default 512x512)",
        parse=_SIZE,
        metavar="WIDTHxHEIGHT",
    )
    io: str = io_option("the network's own five channels in, colours in [-1, 1] out")

    def check(self) -> None:
        """Refuse sizes that the network cannot take."""
        super().check()
        height, width = self.window
        try:
            PRESETS[self.preset].check_size(height, width)
        except ValueError as error:
            raise UserError(f"--size {self.size}: {error}") from None
        if height * width > _MOST_PIXELS:
            raise UserError(
                f"--size {self.size}: attention compares everything with everything; at most "
                f"{_MOST_PIXELS} pixels, such as 720x720 or 1024x512"
            )
