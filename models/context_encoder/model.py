"""The network: an image to one vector, and the vector to the image's centre.

"Context Encoders: Feature Learning by Inpainting", arXiv 1604.07379; layers and names are those of
the public PyTorch port of its centre model.
"""

from collections.abc import Iterator

from torch import Tensor, nn

from rethined_export.models.context_encoder.config import ContextEncoderConfig

_SLOPE = 0.2


class ContextEncoder(nn.Module):
    """The network; a state dict's keys are those of the port's checkpoints."""

    def __init__(self, config: ContextEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.main = nn.Sequential(*_encoder(config), *_decoder(config))

    def forward(self, x: Tensor) -> Tensor:
        """Paint the centre.

        Args:
            x: ``[B, 3, H, W]``, RGB in [-1, 1], whose hole is filled with constants; multiples of
                32 from 128, but trained at 128 only.

        Returns:
            RGB in (-1, 1), ``[B, 3, H/2, W/2]``.
        """
        return self.main(x)


def _encoder(config: ContextEncoderConfig) -> Iterator[nn.Module]:
    width = config.width
    yield from (nn.Conv2d(3, width, 4, 2, 1, bias=False), nn.LeakyReLU(_SLOPE))
    taken = width
    for given in (width, 2 * width, 4 * width, 8 * width):
        yield nn.Conv2d(taken, given, 4, 2, 1, bias=False)
        yield from (nn.BatchNorm2d(given), nn.LeakyReLU(_SLOPE))
        taken = given
    yield nn.Conv2d(taken, config.bottleneck, 4, bias=False)
    yield from (nn.BatchNorm2d(config.bottleneck), nn.LeakyReLU(_SLOPE))


def _decoder(config: ContextEncoderConfig) -> Iterator[nn.Module]:
    width = config.width
    yield nn.ConvTranspose2d(config.bottleneck, 8 * width, 4, bias=False)
    yield from (nn.BatchNorm2d(8 * width), nn.ReLU())
    for given in (4 * width, 2 * width, width):
        yield nn.ConvTranspose2d(2 * given, given, 4, 2, 1, bias=False)
        yield from (nn.BatchNorm2d(given), nn.ReLU())
    yield from (nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False), nn.Tanh())
