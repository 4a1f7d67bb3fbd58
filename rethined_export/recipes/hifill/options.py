"""Options of HiFill's artifacts."""

from dataclasses import dataclass

from rethined_export.errors import UserError
from rethined_export.models.hifill import PRESETS
from rethined_export.recipes.options import SizedOptions, io_option, option, size

_STEP = PRESETS["places2"].side
_SIZE = size(multiple=_STEP, least=_STEP, most=4096)


@dataclass(frozen=True)
class HiFillOptions(SizedOptions):
    """What can be chosen."""

    preset: str = option("places2", "weights' training: places2", choices=PRESETS)
    size: str = option(
        "1024x1024",
        "side of the square it takes, a multiple of 512 up to 4096 (default 1024)",
        parse=_SIZE,
        metavar="SIDE",
    )
    io: str = io_option(
        "the network alone at 512, which also tells its attention, and a caller that adds "
        "the residuals",
    )

    def check(self) -> None:
        """Refuse sizes that it cannot take."""
        super().check()
        height, width = self.window
        if height != width:
            raise UserError(
                f"--size {self.size}: HiFill takes squares; the nearest are {height} and {width}"
            )
