"""Residual blocks of the generators without Fourier convolutions."""

from torch import Tensor, nn

from rethined_export.models.lama.config import DILATIONS


class MultiDilatedConvolution(nn.Module):
    """The sum of four 3×3 convolutions, each of a quarter of the input at its own dilation.

    ``[B, channels, h, w]`` in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(
                channels // len(DILATIONS),
                channels,
                3,
                padding=dilation,
                dilation=dilation,
                padding_mode="reflect",
            )
            for dilation in DILATIONS
        )

    def forward(self, x: Tensor) -> Tensor:
        groups = x.chunk(len(DILATIONS), dim=1)
        first, *others = (conv(group) for conv, group in zip(self.convs, groups, strict=True))
        return sum(others, start=first)


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added to what came in; ``[B, channels, h, w]``."""

    def __init__(self, conv_block: nn.Sequential) -> None:
        super().__init__()
        self.conv_block = conv_block

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


def dilated_block(channels: int) -> ResidualBlock:
    """A residual block of multi-dilated convolutions."""
    return ResidualBlock(
        nn.Sequential(
            MultiDilatedConvolution(channels),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            MultiDilatedConvolution(channels),
            nn.BatchNorm2d(channels),
        )
    )


def regular_block(channels: int) -> ResidualBlock:
    """A residual block of plain 3×3 convolutions."""
    return ResidualBlock(
        nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.BatchNorm2d(channels),
        )
    )
