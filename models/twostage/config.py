"""The two-stage system's one preset, and its fixed numbers."""

from dataclasses import dataclass

#: Side of the square that stage one works on, in pixels.
LOW = 512
#: Shift of the four copies, in pixels for each so many rows of the image: "a fifth" of the height.
SHIFT, SHIFT_ROWS = 50, 256


@dataclass(frozen=True)
class TwoStageConfig:
    """What differs between published weights.

    Attributes:
        preset: its name: what both networks were trained on.
    """

    preset: str


PRESETS: dict[str, TwoStageConfig] = {"places2": TwoStageConfig("places2")}
