"""Options of AOT-GAN's artifacts."""

from dataclasses import dataclass

from rethined_export.models.aot_gan import PRESETS
from rethined_export.models.aot_gan.config import STRIDE
from rethined_export.recipes.options import SizedOptions, io_option, option, size

_SIZE = size(multiple=STRIDE, least=36, most=1024)


@dataclass(frozen=True)
class AotGanOptions(SizedOptions):
    """What can be chosen."""

    preset: str = option("published", "network; there is one (published)", choices=PRESETS)
    size: str = option(
        "512x512",
        "pixels it takes, multiples of 4 from 36 to 1024 (default 512x512)",
        parse=_SIZE,
        metavar="WIDTHxHEIGHT",
    )
    io: str = io_option("the network's own four channels in, RGB out")
