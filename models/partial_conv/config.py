"""Shapes of the partial convolution U-Net: how deep it is, and what that asks of an image."""

from dataclasses import dataclass

#: Channels stop doubling at this many times those of the first layer.
_WIDEST = 8


@dataclass(frozen=True)
class PartialConvConfig:
    """Everything that decides the shapes of the weights and the forward pass.

    Attributes:
        preset: name of the preset this started from.
        layers: of the encoder; each halves the sides, and the decoder has as many.
        trained_side: pixels of the squares that a network of this depth is trained on.
        width: channels of the first layer.
    """

    preset: str
    layers: int
    trained_side: int
    width: int = 64

    def channels(self, layer: int) -> int:
        """Of an encoder layer's output, counted from 1; layer 0 is the image."""
        return 3 if layer == 0 else self.width * min(2 ** (layer - 1), _WIDEST)

    @staticmethod
    def kernel(layer: int) -> int:
        """Side of an encoder layer's kernel, counted from 1."""
        return {1: 7, 2: 5, 3: 5}.get(layer, 3)

    @property
    def multiple(self) -> int:
        """Sides are multiples of this many pixels: the last map's are whole numbers."""
        return int(2**self.layers)

    def check_size(self, height: int, width: int) -> None:
        """Whether the network takes images of a size.

        Raises:
            ValueError: a side is no multiple of :attr:`multiple`.
        """
        if height % self.multiple or width % self.multiple or not min(height, width):
            raise ValueError(
                f"partial convolution ({self.preset}) cannot take {width}×{height}: sides are "
                f"multiples of {self.multiple}"
            )


PRESETS: dict[str, PartialConvConfig] = {
    "256": PartialConvConfig("256", layers=7, trained_side=256),
    "512": PartialConvConfig("512", layers=8, trained_side=512),
}
