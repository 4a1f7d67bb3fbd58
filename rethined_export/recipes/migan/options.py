"""MI-GAN's options."""

from dataclasses import dataclass, replace
from typing import Self

from rethined_export.errors import UserError
from rethined_export.models.migan import PRESETS
from rethined_export.photo.window import Window
from rethined_export.recipes.options import Options, io_option, option


@dataclass(frozen=True)
class MiGanOptions(Options):
    """What to export of MI-GAN; the preset decides the size."""

    preset: str = option("256", "side of its square: 256 (default) or 512", choices=PRESETS)
    io: str = io_option("the generator's own four channels in, RGB out")

    @property
    def window(self) -> Window:
        """The preset's square."""
        return Window.square(PRESETS[self.preset].resolution)

    def sized(self, window: Window) -> Self:
        """The preset of that size."""
        for name, config in PRESETS.items():
            if window == Window.square(config.resolution):
                return replace(self, preset=name)
        raise UserError(f"MI-GAN works at {', '.join(PRESETS)} squared, not {window}")

    @property
    def size_text(self) -> str:
        """The preset is the size."""
        return ""
