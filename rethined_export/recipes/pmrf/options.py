"""Options of the parallel multi-resolution network's artifacts."""

from dataclasses import dataclass

from rethined_export.models.pmrf import PRESETS, STRIDE
from rethined_export.recipes.options import SizedOptions, io_option, option, size

#: Below, the lowest of the four maps is too small to compare patches of.
_SIZE = size(multiple=STRIDE, least=4 * STRIDE, most=512)


@dataclass(frozen=True)
class PmrfOptions(SizedOptions):
    """What can be chosen."""

    preset: str = option("slides", "network; there is one (slides)", choices=PRESETS)
    size: str = option(
        "256x256",
        "pixels it takes, multiples of 8 from 32 to 512 (default 256x256)",
        parse=_SIZE,
        metavar="WIDTHxHEIGHT",
    )
    io: str = io_option("the network's own four channels in, RGB out")
