"""Options of LaMa's artifacts."""

from dataclasses import dataclass

from rethined_export.errors import UserError
from rethined_export.models.lama import PRESETS
from rethined_export.models.lama.config import STRIDE
from rethined_export.recipes.options import SizedOptions, io_option, option, size

_SIZE = size(multiple=STRIDE, least=16, most=2048)


@dataclass(frozen=True)
class LamaOptions(SizedOptions):
    """What can be chosen."""

    preset: str = option("big", "network (default big)", choices=PRESETS)
    size: str = option(
        "512x512",
        "pixels it takes, multiples of 8 (default 512x512)",
        parse=_SIZE,
        metavar="WIDTHxHEIGHT",
    )
    io: str = io_option("the network's own four channels in, RGB out")

    def check(self) -> None:
        """Refuse sizes that the network cannot take."""
        super().check()
        try:
            PRESETS[self.preset].check_size(*self.window)
        except ValueError as error:
            raise UserError(f"--size {self.size}: {error}") from None
