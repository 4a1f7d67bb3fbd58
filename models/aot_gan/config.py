"""Shapes of AOT-GAN's generator: the one whose weights are published."""

from dataclasses import dataclass

#: Image pixels along one side of a pixel of the map that the blocks work on.
STRIDE = 4


@dataclass(frozen=True)
class AotGanConfig:
    """Everything that decides the shapes of the weights and the forward pass.

    Attributes:
        preset: name of the preset this started from.
        blocks: of the middle.
        rates: dilations of a block's branches.
        width: channels at full resolution; the map of the blocks has four times as many.
    """

    preset: str
    blocks: int = 8
    rates: tuple[int, ...] = (1, 2, 4, 8)
    width: int = 64

    @property
    def smallest_side(self) -> int:
        """Pixels: reflection reaches fewer pixels than the map has."""
        return STRIDE * (max(self.rates) + 1)

    def check_size(self, height: int, width: int) -> None:
        """Whether the network gives back images of the size that it takes.

        Raises:
            ValueError: a side that is too small, or no multiple of 4.
        """
        if height % STRIDE or width % STRIDE or min(height, width) < self.smallest_side:
            raise ValueError(
                f"AOT-GAN cannot take {width}×{height}: sides are multiples of {STRIDE} from "
                f"{self.smallest_side}"
            )


PRESETS: dict[str, AotGanConfig] = {"published": AotGanConfig("published")}

#: Of the kernels, where weights that follow from the tensors' names stand in for trained ones.
STAND_IN_GAIN = 1.2
