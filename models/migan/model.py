"""The generator: an encoder and a decoder of separable convolutions, joined level by level."""

from torch import Tensor, nn

from rethined_export.models.migan.blocks import SeparableConv, Upsample, activate
from rethined_export.models.migan.config import BOTTOM, MiGanConfig

#: Channels of the input: the mask, then RGB.
INPUTS = 4


class EncoderBlock(nn.Module):
    """One level of the encoder; the bottom one keeps its sides.

    Args:
        first: it takes the input, not feature maps.
    """

    def __init__(self, config: MiGanConfig, side: int, first: bool) -> None:
        super().__init__()
        channels, down = config.channels(side), side > BOTTOM
        self.fromrgb = nn.Conv2d(INPUTS, channels, 1) if first else None
        self.conv1 = SeparableConv(channels, channels)
        below = config.channels(side // 2) if down else channels
        self.conv2 = SeparableConv(channels, below, down=down)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Feature maps for the level below, and for the decoder's level of the same side."""
        if self.fromrgb is not None:
            x = activate(self.fromrgb(x))
        skip = self.conv1(x)
        return self.conv2(skip), skip


class Encoder(nn.Module):
    """Levels by name, ``b256`` to ``b4``."""

    def __init__(self, config: MiGanConfig) -> None:
        super().__init__()
        self.sides = config.sides
        for side in self.sides:
            first = side == config.resolution
            self.add_module(f"b{side}", EncoderBlock(config, side, first))

    def forward(self, x: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        """The bottom's feature maps, and what each level hands to the decoder, by side."""
        skips = {}
        for side in self.sides:
            x, skips[side] = self.get_submodule(f"b{side}")(x)
        return x, skips


class SynthesisStart(nn.Module):
    """The decoder's bottom level: no noise, no enlargement."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = SeparableConv(channels, channels)
        self.conv2 = SeparableConv(channels, channels)
        self.torgb = nn.Conv2d(channels, 3, 1)

    def forward(self, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """Feature maps, and the image so far."""
        x = self.conv2(self.conv1(x) + skip)
        return x, self.torgb(x)


class SynthesisBlock(nn.Module):
    """One level of the decoder: doubles feature maps and image, and adds to the image."""

    def __init__(self, config: MiGanConfig, side: int) -> None:
        super().__init__()
        inputs, channels = config.channels(side // 2), config.channels(side)
        self.conv1 = SeparableConv(inputs, channels, side=side, up=True)
        self.conv2 = SeparableConv(channels, channels, side=side)
        self.torgb = nn.Conv2d(channels, 3, 1)
        self.upsample = Upsample(3, side)

    def forward(self, x: Tensor, image: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """Feature maps, and the image so far."""
        x = self.conv2(self.conv1(x) + skip)
        return x, self.upsample(image) + self.torgb(x)


class Synthesis(nn.Module):
    """Levels by name, ``b4`` to ``b256``."""

    def __init__(self, config: MiGanConfig) -> None:
        super().__init__()
        self.sides = config.sides[-2::-1]
        self.add_module(f"b{BOTTOM}", SynthesisStart(config.channels(BOTTOM)))
        for side in self.sides:
            self.add_module(f"b{side}", SynthesisBlock(config, side))

    def forward(self, x: Tensor, skips: dict[int, Tensor]) -> Tensor:
        x, image = self.get_submodule(f"b{BOTTOM}")(x, skips[BOTTOM])
        for side in self.sides:
            x, image = self.get_submodule(f"b{side}")(x, image, skips[side])
        return image


class MiGan(nn.Module):
    """MI-GAN's generator, as published for inference.

    Its keys are those of the released ``migan_*.pt`` files, which hold a plain state dict.
    """

    def __init__(self, config: MiGanConfig) -> None:
        super().__init__()
        self.config = config
        self.synthesis = Synthesis(config)
        self.encoder = Encoder(config)

    def forward(self, x: Tensor) -> Tensor:
        """Paint the image.

        Args:
            x: ``[N, 4, R, R]``: first known − 0.5 (known = 1, hole = 0), then RGB in [−1, 1]
                with zeros in the hole; R is the configuration's resolution.

        Returns:
            RGB ``[N, 3, R, R]``, about [−1, 1] but unbounded, everywhere painted anew.

        Raises:
            ValueError: another side than R.
        """
        side = self.config.resolution
        if x.shape[1:] != (INPUTS, side, side):
            raise ValueError(
                f"input is {list(x.shape)}; this MI-GAN takes [N, {INPUTS}, {side}, {side}] only: "
                "resize it, or use the preset of its size"
            )
        return self.synthesis(*self.encoder(x))


def fixed_keys(model: nn.Module) -> frozenset[str]:
    """Keys of the state dict that hold the architecture's own filters, the same in every file."""
    names = (".filter.weight", ".filter_const")
    return frozenset(key for key in model.state_dict() if key.endswith(names))
