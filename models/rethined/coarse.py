"""The coarse model f_θ: a MobileOne encoder and a decoder with skips that recover structure."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined.colour import as_colourful
from rethined_export.models.rethined.config import RethinedConfig
from rethined_export.models.rethined.mobileone import MobileOneBlock, MobileOneEncoder
from rethined_export.models.rethined.push_pull import push_pull


class CoarseModel(nn.Module):
    """Low-resolution masked image in, low-resolution coarse image and encoder features out."""

    d0: nn.Conv2d | nn.ConvTranspose2d

    def __init__(self, config: RethinedConfig) -> None:
        super().__init__()
        self.model = MobileOneEncoder(config)
        layers = _separable(config) if config.decoder == "separable" else _transposed(config)
        self.decoder, self.start = config.decoder, config.start
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Paint the hole.

        Args:
            x: ``[B, 3, H, H]`` in [0, 1], zero in the hole.
            mask: ``[B, 1, H, H]``, 1 = hole.

        Returns:
            The image ``[B, 3, H, H]``, in [0, 1] or, from a push–pull fill, near it; and the
            encoder's five features.
        """
        if self.start == "zeros":
            features = self.model(x)
            return torch.sigmoid(self.decode(features)), features
        fill = push_pull(x, mask)
        features = self.model(torch.cat([fill, mask], dim=1))
        return fill + as_colourful(self.decode(features), x, mask), features

    def decode(self, features: list[Tensor]) -> Tensor:
        """The encoder's five features to ``[B, 3, H, H]``, of any range."""
        return (self._separable if self.decoder == "separable" else self._transposed)(features)

    def _transposed(self, features: list[Tensor]) -> Tensor:
        out = features[4]
        for level in (4, 3, 2, 1):
            out = torch.relu(getattr(self, f"d{level}")(out))
            out = torch.cat([out, features[level - 1]], dim=1)
        return self.d0(out)

    def _separable(self, features: list[Tensor]) -> Tensor:
        out = features[4]
        for level in (4, 3, 2, 1):
            out = getattr(self, f"d{level}")(out, features[level - 1])
        return F.pixel_shuffle(self.d0(out), 2)


class SeparableUp(nn.Module):
    """Twice the size at a low price: 1×1 reduce, bilinear ×2, join the skip, depthwise, 1×1."""

    def __init__(self, channels: int, skip: int, out: int, branches: int, deployed: bool) -> None:
        super().__init__()
        joined = out + skip
        self.reduce = MobileOneBlock(channels, out, 1, branches=branches, deployed=deployed)
        self.depthwise = MobileOneBlock(
            joined, joined, 3, groups=joined, branches=branches, deployed=deployed
        )
        self.pointwise = MobileOneBlock(joined, out, 1, branches=branches, deployed=deployed)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """``[1, channels, h, w]`` and ``[1, skip, 2h, 2w]`` → ``[1, out, 2h, 2w]``."""
        x = F.interpolate(self.reduce(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.pointwise(self.depthwise(torch.cat([x, skip], dim=1)))


def _separable(config: RethinedConfig) -> dict[str, nn.Module]:
    inputs = (config.widths[4], *config.decoder_widths)
    layers: dict[str, nn.Module] = {
        f"d{level}": SeparableUp(
            inputs[4 - level],
            config.widths[level - 1],
            inputs[5 - level],
            config.branches,
            config.deployed,
        )
        for level in (4, 3, 2, 1)
    }
    layers["d0"] = nn.Conv2d(inputs[4], 12, 3, padding=1)
    return layers


def _transposed(config: RethinedConfig) -> dict[str, nn.Module]:
    outputs = (*config.decoder_widths, 3)
    layers: dict[str, nn.Module] = {}
    channels = config.widths[4]
    for level, out in zip((4, 3, 2, 1, 0), outputs, strict=True):
        layers[f"d{level}"] = nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1)
        channels = out + config.widths[level - 1]
    return layers
