"""Shapes of an MI-GAN generator, and its named presets."""

from dataclasses import dataclass

#: Side of the smallest feature maps, in pixels.
BOTTOM = 4


@dataclass(frozen=True)
class MiGanConfig:
    """Everything that decides the shapes of the weights and the forward pass.

    Attributes:
        preset: its name.
        resolution: side of the image, a power of two from 8; the noise buffers are stored at every
            level's size, so that no other size can be run.
        channel_base: channels of a level times its side.
        channel_max: channels that no level exceeds.
    """

    preset: str
    resolution: int
    channel_base: int = 32768
    channel_max: int = 512

    def __post_init__(self) -> None:
        if self.resolution < 2 * BOTTOM or self.resolution.bit_count() != 1:
            raise ValueError(f"resolution {self.resolution} is not a power of two from 8")

    def channels(self, side: int) -> int:
        """Channels of the feature maps of one side."""
        return min(self.channel_base // side, self.channel_max)

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the levels, from the image's own down to the bottom, in pixels."""
        first, last = self.resolution.bit_length(), BOTTOM.bit_length()
        return tuple(1 << bits for bits in range(first - 1, last - 2, -1))


PRESETS: dict[str, MiGanConfig] = {
    "256": MiGanConfig(preset="256", resolution=256),
    "512": MiGanConfig(preset="512", resolution=512),
}

#: Of the kernels, where weights that follow from the tensors' names stand in for trained ones.
STAND_IN_GAIN: dict[str, float] = {"256": 1.0, "512": 1.0}
