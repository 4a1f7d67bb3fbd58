"""Options of the two-stage system's artifacts."""

from dataclasses import dataclass

from rethined_export.errors import UserError
from rethined_export.models.dfnet import STRIDE
from rethined_export.models.twostage import PRESETS
from rethined_export.recipes.options import SizedOptions, io_option, option, size

#: Beyond it the whole in one file is too much for a phone's memory.
LARGEST_WHOLE = 2048
_SIZE = size(multiple=STRIDE, least=STRIDE, most=4096)


@dataclass(frozen=True)
class TwoStageOptions(SizedOptions):
    """What can be chosen."""

    preset: str = option("places2", "weights' training: places2", choices=PRESETS)
    size: str = option(
        "1024x1024",
        "pixels it takes, multiples of 256 up to 2048, native 4096 (default 1024x1024)",
        parse=_SIZE,
        metavar="WIDTHxHEIGHT",
    )
    io: str = io_option(
        "a pair, the coarse network at 512 and the refining one, whose caller does what lies "
        "between",
        plain="one program, image and mask in, filled image out",
    )

    def check(self) -> None:
        """Refuse sizes that it cannot take."""
        super().check()
        if self.io == "plain" and max(self.window) > LARGEST_WHOLE:
            raise UserError(
                f"--size {self.size}: one program goes up to {LARGEST_WHOLE}; add --io native for "
                "a pair"
            )
