"""Shapes of the network. The slides give none of these numbers: all but the levels are assumed."""

from dataclasses import dataclass

#: Resolutions side by side: level 3 is the image's, each lower one half the one above.
LEVELS = 4
#: Sides are multiples of this many pixels: those of level 0 are whole numbers.
STRIDE = 2 ** (LEVELS - 1)


@dataclass(frozen=True)
class PmrfConfig:
    """Everything that decides the shapes of the weights.

    Attributes:
        preset: name of the preset this started from.
        width: channels of level 3; each lower level has twice those of the one above.
        key_width: channels that attention compares.
        masked_stages: whose fusion goes by the mask. attended_stages: the ones after them.
        blocks: residual ones of a level in each stage.
    """

    preset: str
    width: int = 64
    key_width: int = 128
    masked_stages: int = 5
    attended_stages: int = 3
    blocks: int = 1

    def channels(self, level: int) -> int:
        """Of a level's maps."""
        return self.width << self.shrinkings(level)

    @staticmethod
    def shrinkings(level: int) -> int:
        """How often the image's sides are halved to a level's."""
        return LEVELS - 1 - level

    @property
    def updates(self) -> int:
        """Layers of a level that decide anew what counts as known."""
        return 2 * self.blocks * self.masked_stages


PRESETS: dict[str, PmrfConfig] = {"slides": PmrfConfig("slides")}


def check_size(height: int, width: int) -> None:
    """Whether the network takes images of a size.

    Raises:
        ValueError: a side is no multiple of 8.
    """
    if height % STRIDE or width % STRIDE or not min(height, width):
        raise ValueError(
            f"the network cannot take {width}×{height}: sides are multiples of {STRIDE}"
        )
