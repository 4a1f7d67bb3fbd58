"""LaMa: shrink the masked image to an eighth, residual blocks, enlarge.

"Resolution-robust Large Mask Inpainting with Fourier Convolutions", arXiv 2109.07161.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from rethined_export.models.lama.config import LamaConfig
from rethined_export.models.lama.fourier import FourierBlock, FourierLayer, Join, Split
from rethined_export.models.lama.residual import dilated_block, regular_block

#: Share of the channels that are global.
_RATIO = 0.75


class Lama(nn.Module):
    """The generator; a state dict's keys are those of the published checkpoints."""

    def __init__(self, config: LamaConfig) -> None:
        super().__init__()
        self.config = config
        inner = _fourier_part(config) if config.kind == "fourier" else _plain_part(config)
        self.model = nn.Sequential(*inner, *_enlarging_part(config.width))

    def forward(self, x: Tensor) -> Tensor:
        """Paint.

        Args:
            x: ``[B, 4, H, W]``: RGB in [0, 1], 0 in the hole, and the mask, 1 = hole.

        Returns:
            RGB in (0, 1), ``[B, 3, H, W]``; known pixels are painted too.

        Raises:
            ValueError: a side that is too small, or no multiple of 8.
        """
        self.config.check_size(x.shape[2], x.shape[3])
        return self.model(x)


class Inpainter(nn.Module):
    """Image and mask in, image with its hole filled out."""

    def __init__(self, lama: nn.Module) -> None:
        super().__init__()
        self.lama = lama

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the hole.

        Args:
            image: RGB ``[B, 3, H, W]`` in [0, 1]; what lies in the hole does not matter.
            mask: ``[B, 1, H, W]``, 1 = hole, 0 = known.

        Returns:
            ``[B, 3, H, W]``; known pixels exactly as they came: each is a product with 1, plus 0.
        """
        known = image * (1 - mask)
        painted = self.lama(torch.cat([known, mask], dim=1))
        return known + painted * mask


def _fourier_part(config: LamaConfig) -> Iterator[nn.Module]:
    width = config.width
    yield nn.Sequential(nn.ReflectionPad2d(3), Split())
    yield FourierLayer((4, 0), (width, 0), kernel=7, padding=0)
    yield FourierLayer((width, 0), (2 * width, 0), stride=2)
    yield FourierLayer((2 * width, 0), (4 * width, 0), stride=2)
    far = int(8 * width * _RATIO)
    channels = (8 * width - far, far)
    yield FourierLayer((4 * width, 0), channels, stride=2)
    for _ in range(config.blocks):
        yield FourierBlock(channels)
    yield Join()


def _plain_part(config: LamaConfig) -> Iterator[nn.Module]:
    width = config.width
    yield from (nn.ReflectionPad2d(3), nn.Conv2d(4, width, 7), nn.BatchNorm2d(width), nn.ReLU())
    for given in (2 * width, 4 * width, 8 * width):
        yield nn.Conv2d(given // 2, given, 3, stride=2, padding=1)
        yield from (nn.BatchNorm2d(given), nn.ReLU())
    block = dilated_block if config.kind == "dilated" else regular_block
    for _ in range(config.blocks):
        yield block(8 * width)


def _enlarging_part(width: int) -> Iterator[nn.Module]:
    for given in (4 * width, 2 * width, width):
        yield nn.ConvTranspose2d(2 * given, given, 3, stride=2, padding=1, output_padding=1)
        yield from (nn.BatchNorm2d(given), nn.ReLU())
    yield from (nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Sigmoid())
