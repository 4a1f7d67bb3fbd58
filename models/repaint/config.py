"""Shapes of RePaint's network, and its named presets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RepaintConfig:
    """Everything that decides the shapes of the weights.

    Attributes:
        preset: its name.
        side: of the square images it was trained on, in pixels.
        width: channels of the first level. widths: of all levels, over that.
        blocks: residual blocks of a level.
        attention: how much smaller than the image maps are that have attention.
        head: channels of one of its heads.
    """

    preset: str
    side: int
    width: int
    widths: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]
    head: int

    @property
    def stride(self) -> int:
        """What sides of images are multiples of, in pixels."""
        return 1 << (len(self.widths) - 1)


PRESETS: dict[str, RepaintConfig] = {
    "256": RepaintConfig("256", 256, 256, (1, 1, 2, 2, 4, 4), 2, (8, 16, 32), 64),
    "tiny": RepaintConfig("tiny", 32, 32, (1, 2, 2), 1, (2, 4), 16),
}

#: Of the kernels, where weights that follow from the tensors' names stand in for trained ones.
STAND_IN_GAIN = 1.0
