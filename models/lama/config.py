"""Shapes of LaMa's generators: the presets whose weights are published."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["fourier", "dilated", "regular"]

#: Image pixels along one side of a pixel of the map that the residual blocks work on.
STRIDE = 8
#: Dilations of the groups of a multi-dilated convolution.
DILATIONS = (1, 2, 4, 8)


@dataclass(frozen=True)
class LamaConfig:
    """Everything that decides the shapes of the weights and the forward pass.

    Attributes:
        preset: name of the preset this started from.
        kind: of the residual blocks; ``fourier`` also reflects at the border while shrinking,
            where the others see zeros.
        blocks: residual blocks.
        gain: of the kernels of :func:`~rethined_export.models.seeded.seed_weights`.
        width: channels at full resolution; the map of the blocks has eight times as many.
    """

    preset: str
    kind: Kind
    blocks: int
    gain: float
    width: int = 64

    @property
    def smallest_side(self) -> int:
        """Pixels: reflection reaches fewer pixels than the map has."""
        reach = max(DILATIONS) if self.kind == "dilated" else 1
        return STRIDE * (reach + 1)

    def check_size(self, height: int, width: int) -> None:
        """Whether the network takes images of a size.

        Raises:
            ValueError: a side that is too small, or no multiple of 8.
        """
        if height % STRIDE or width % STRIDE or min(height, width) < self.smallest_side:
            raise ValueError(
                f"LaMa ({self.preset}) cannot take {width}×{height}: sides are multiples of "
                f"{STRIDE} from {self.smallest_side}"
            )


PRESETS: dict[str, LamaConfig] = {
    "big": LamaConfig("big", "fourier", blocks=18, gain=0.85),
    "fourier": LamaConfig("fourier", "fourier", blocks=9, gain=1.0),
    "dilated": LamaConfig("dilated", "dilated", blocks=9, gain=0.78),
    "regular": LamaConfig("regular", "regular", blocks=9, gain=1.2),
}
