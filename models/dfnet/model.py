"""DFNet: what the last six decoders make is blended into the photo, each at its own size.

"Deep Fusion Network for Image Completion", ACM MM 2019, arXiv 1904.08060.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.dfnet.unet import SLOPE, Convolution, UNet

#: Channels of the input: masked BGR, and what is known.
INPUTS = 4
WIDTHS = (64, 128, 256, 512, 512, 512, 512, 512)
#: Decoders that have a fusion block, the last of them at full size.
FUSED = 6
#: Channels between a fusion block's convolutions.
_INNER = 32


class Fused(NamedTuple):
    """What a fusion block gives, each BGR ``[N, 3, h, w]`` in (0, 1).

    Attributes:
        result: paint and photo, blended. alpha: the paint's share. raw: the paint.
    """

    result: Tensor
    alpha: Tensor
    raw: Tensor


class _Blend(nn.Module):
    """Photo and paint ``[N, 6, h, w]`` → the paint's share of each channel ``[N, 3, h, w]``."""

    def __init__(self) -> None:
        super().__init__()
        self.blend = nn.Sequential(
            Convolution(6, _INNER, 1),
            nn.BatchNorm2d(_INNER),
            nn.LeakyReLU(SLOPE),
            Convolution(_INNER, 3, 3),
            nn.BatchNorm2d(3),
            nn.LeakyReLU(SLOPE),
            Convolution(3, 3, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.blend(x)


class Fusion(nn.Module):
    """Paints from a decoder's map and blends with the photo.

    Args:
        channels: of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.map2img = nn.Sequential(Convolution(channels, 3, 1), nn.Sigmoid())
        self.blend = _Blend()

    def forward(self, photo: Tensor, features: Tensor) -> Fused:
        """Blend.

        Args:
            photo: masked BGR ``[N, 3, h, w]``, 0 in the hole. features: ``[N, C, h, w]``.
        """
        raw = self.map2img(features)
        alpha = self.blend(torch.cat([photo, raw], dim=1))
        return Fused(alpha * raw + (1 - alpha) * photo, alpha, raw)


class DfNet(UNet):
    """The network; its keys are those of the published checkpoints, which are plain state dicts.

    Args:
        widths: channels of the encoders' maps, eight.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        encoders = [f"en_{level}" for level in range(len(widths))]
        decoders = [f"de_{level}" for level in reversed(range(len(widths)))]
        super().__init__(INPUTS, widths, encoders, decoders)
        for level, channels in enumerate((INPUTS, *widths)[:FUSED]):
            self.add_module(f"fuse_{level}", Fusion(channels))

    def forward(self, x: Tensor) -> list[Fused]:
        """Paint.

        Args:
            x: ``[N, 4, H, W]``: BGR in [0, 1] with 0 in the hole, and 1 = known, 0 = hole.

        Returns:
            Six, the first at full size, each of the others half the size of the one before. Known
            pixels are painted too.

        Raises:
            ValueError: sides are no multiples of 256.
        """
        maps = list(self.levels(x))[::-1][:FUSED]
        photo = x[:, :3]
        return [
            self.get_submodule(f"fuse_{level}")(_shrunk(photo, level), features)
            for level, features in enumerate(maps)
        ]


def _shrunk(photo: Tensor, level: int) -> Tensor:
    """The photo at a level's size, bilinear without antialiasing."""
    if not level:
        return photo
    size = (photo.shape[2] >> level, photo.shape[3] >> level)
    return F.interpolate(photo, size, mode="bilinear", align_corners=False)
