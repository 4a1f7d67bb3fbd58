"""The generator: shrink to a quarter, eight gated blocks of dilated convolutions, enlarge.

"Aggregated Contextual Transformations for High-Resolution Image Inpainting", arXiv 2104.01431.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.aot_gan.config import AotGanConfig

#: RGB and the mask.
INPUTS = 4
#: The gate is the sigmoid of this many times (2·standardised − 1).
SCALE = 5.0
#: Added to the deviation, not to the variance.
EPSILON = 1e-9


def reflecting(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    """Reflection at the border, and a convolution that keeps the sides; keys end in ``1.…``."""
    conv = nn.Conv2d(inputs, outputs, kernel, dilation=dilation)
    return nn.Sequential(nn.ReflectionPad2d(kernel // 2 * dilation), conv)


def standardise(x: Tensor) -> Tensor:
    """Each map less its mean, over its sample deviation, times 10 less 5; ``[B, C, h, w]``."""
    mean, std = x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True)
    return SCALE * (2 * (x - mean) / (std + EPSILON) - 1)


class AotBlock(nn.Module):
    """Convolutions of several reaches side by side, mixed, and let in by a gate.

    The gate weighs each pixel against its whole map, so that no part of an image can be painted
    alone. ``[B, channels, h, w]`` in and out.
    """

    def __init__(self, channels: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = [f"block{number:02}" for number in range(len(rates))]
        for name, rate in zip(self.branches, rates, strict=True):
            branch = reflecting(channels, channels // len(rates), 3, dilation=rate)
            self.add_module(name, branch.append(nn.ReLU()))
        self.fuse = reflecting(channels, channels, 3)
        self.gate = reflecting(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        found = torch.cat([self.get_submodule(name)(x) for name in self.branches], dim=1)
        let_in = torch.sigmoid(standardise(self.gate(x)))
        return x * (1 - let_in) + self.fuse(found) * let_in


class Enlarge(nn.Module):
    """Bilinear to twice the sides, corner on corner, and a convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, inputs, h, w]`` → ``[B, outputs, 2h, 2w]``."""
        large = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
        return self.conv(large)


class AotGan(nn.Module):
    """The generator; a state dict's keys are those of the published checkpoints."""

    def __init__(self, config: AotGanConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.encoder = nn.Sequential(
            *reflecting(INPUTS, width, 7),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1),
            nn.ReLU(),
        )
        self.middle = nn.Sequential(
            *(AotBlock(4 * width, config.rates) for _ in range(config.blocks))
        )
        self.decoder = nn.Sequential(
            Enlarge(4 * width, 2 * width),
            nn.ReLU(),
            Enlarge(2 * width, width),
            nn.ReLU(),
            nn.Conv2d(width, 3, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Paint.

        Args:
            x: ``[B, 4, H, W]``: RGB in [-1, 1], 1 (white) in the hole, and the mask, 1 = hole.

        Returns:
            RGB in (-1, 1), ``[B, 3, H, W]``; known pixels are painted too.

        Raises:
            ValueError: a side that is too small, or no multiple of 4.
        """
        self.config.check_size(x.shape[2], x.shape[3])
        return torch.tanh(self.decoder(self.middle(self.encoder(x))))
