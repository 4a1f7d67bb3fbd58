"""The U-Net of DFNet, which the two-stage system's refinement has too, wider."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Kernels of the halvings, the first at full size.
KERNELS = (7, 5, 5, 3, 3, 3, 3, 3)
#: Image pixels along one side of a pixel of the smallest map.
STRIDE = 1 << len(KERNELS)
SLOPE = 0.2


class Convolution(nn.Module):
    """Convolution that sees zeros around the map and keeps its sides, or halves them.

    Halving, it reaches one pixel further to the right and below than to the left and above.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        if stride == 1:
            self.conv: nn.Module = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
        else:
            before = (kernel - stride) // 2
            edges = (before, kernel - stride - before) * 2
            self.conv = nn.Sequential(
                nn.ZeroPad2d(edges), nn.Conv2d(inputs, outputs, kernel, stride)
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Encode(nn.Module):
    """Halves the sides: ``[N, C, 2h, 2w]`` → ``[N, C', h, w]``.

    Args:
        first: no norm and no activation.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, first: bool) -> None:
        super().__init__()
        layers = [] if first else [nn.BatchNorm2d(outputs), nn.ReLU()]
        self.encode = nn.Sequential(Convolution(inputs, outputs, kernel, stride=2), *layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x)


class Decode(nn.Module):
    """Doubles the sides by nearest neighbours, joins the encoder's map of that size to it.

    ``[N, C, h, w]`` and skip ``[N, C', 2h, 2w]`` → ``[N, C', 2h, 2w]``.
    """

    def __init__(self, inputs: int, skip: int) -> None:
        super().__init__()
        self.decode = nn.Sequential(
            Convolution(inputs + skip, skip, 3), nn.BatchNorm2d(skip), nn.LeakyReLU(SLOPE)
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        # Joined at once: at full size each of these maps may be gigabytes.
        joined = torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skip], dim=1)
        return self.decode(joined)


class UNet(nn.Module):
    """Eight halvings and as many doublings; each decoder has as many channels as its skip.

    Args:
        inputs: channels. widths: of the encoders' outputs, eight, the first at half size.
        encoders, decoders: names of the layers, in the order in which they run.
    """

    def __init__(
        self, inputs: int, widths: Sequence[int], encoders: Sequence[str], decoders: Sequence[str]
    ) -> None:
        super().__init__()
        self.encoders, self.decoders = tuple(encoders), tuple(decoders)
        channels = (inputs, *widths)
        for level, name in enumerate(encoders):
            layer = Encode(channels[level], channels[level + 1], KERNELS[level], first=not level)
            self.add_module(name, layer)
        for name in sorted(decoders):
            level = len(widths) - 1 - self.decoders.index(name)
            self.add_module(name, Decode(channels[level + 1], channels[level]))

    def levels(self, x: Tensor) -> Iterator[Tensor]:
        """The decoders' maps, from the smallest to the input's size.

        Args:
            x: ``[N, inputs, H, W]``.

        Raises:
            ValueError: sides are no multiples of 256.
        """
        check_size(x.shape[2], x.shape[3])
        skips = [x]
        for name in self.encoders:
            skips.append(self.get_submodule(name)(skips[-1]))
        x = skips.pop()
        for name in self.decoders:
            x = self.get_submodule(name)(x, skips.pop())
            yield x


def last(levels: Iterator[Tensor]) -> Tensor:
    """The map of the input's size, the others not kept."""
    for features in levels:
        found = features
    return found


def check_size(height: int, width: int) -> None:
    """Whether the network takes images of a size.

    Raises:
        ValueError: a side that is no multiple of 256.
    """
    if height % STRIDE or width % STRIDE or not height or not width:
        raise ValueError(
            f"the network cannot take {width}×{height}: sides are multiples of {STRIDE}, because "
            "they are halved eight times; resize or pad the image"
        )
