"""Options of RePaint's artifacts."""

import re
from dataclasses import dataclass, replace
from typing import Self

from rethined_export.errors import UserError
from rethined_export.models.repaint import PRESETS, TRAINED, Schedule
from rethined_export.photo.window import Window
from rethined_export.recipes.options import Options, io_option, option, whole_number

_STEPS = whole_number("--steps", 2, TRAINED)
_JUMPS = re.compile(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,3})")


def _jumps(text: str) -> str:
    found = text.lower().replace("×", "x")
    if not _JUMPS.fullmatch(found):
        raise UserError(f"--jumps {text} is not LENGTHxVISITS, such as 10x10; 10x1 jumps never")
    return found


@dataclass(frozen=True)
class RepaintOptions(Options):
    """What can be chosen; the preset decides the size."""

    preset: str = option(
        "256", "256 (default): the published network; tiny: one of 32x32, to try", choices=PRESETS
    )
    steps: int = option(
        250,
        "steps of a fill's schedule, 2 to 1000 (default 250)",
        parse=lambda text: _STEPS(text),
        metavar="N",
    )
    jumps: str = option(
        "10x10",
        "each stretch of LENGTH steps is walked VISITS times; 10x1 jumps never (default 10x10: "
        "with 250 steps a fill runs the network 2410 times)",
        parse=_jumps,
        metavar="LENGTHxVISITS",
    )
    io: str = io_option(
        "the network alone, noisy image and time to noise",
        plain="one step of the schedule",
    )

    @property
    def window(self) -> Window:
        """The preset's square."""
        return Window.square(PRESETS[self.preset].side)

    @property
    def schedule(self) -> Schedule:
        """In which order the artifact is run.

        Raises:
            UserError: it is none.
        """
        length, visits = map(int, _jumps(self.jumps).split("x"))
        try:
            return Schedule(self.steps, length, visits)
        except ValueError as error:
            raise UserError(f"--steps {self.steps} --jumps {self.jumps}: {error}") from error

    def check(self) -> None:
        """Refuse a schedule that is none."""
        super().check()
        _STEPS(str(self.steps))
        _ = self.schedule

    def sized(self, window: Window) -> Self:
        """The preset of that size."""
        for name, config in PRESETS.items():
            if window == Window.square(config.side):
                return replace(self, preset=name)
        sides = " or ".join(str(config.side) for config in PRESETS.values())
        raise UserError(f"RePaint works at {sides} squared, not {window}")

    @property
    def size_text(self) -> str:
        """The preset is the size."""
        return ""

    def form(self, part: str) -> str:
        """What it is one of, and the schedule, where that is not the paper's."""
        pieces = [super().form(part) or "step"]
        if (self.steps, self.jumps) != (RepaintOptions.steps, RepaintOptions.jumps):
            pieces.append(f"{self.steps}-{self.jumps}")
        return "-".join(pieces)
