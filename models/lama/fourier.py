"""Fast Fourier convolutions: a local path of 3×3 convolutions, a global one through the spectrum.

A quarter of the channels is local, the rest global; every layer takes and gives both.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Paths(NamedTuple):
    """Channels of both paths, each ``[B, ·, h, w]``; None where a path does not exist yet."""

    near: Tensor
    far: Tensor | None


class FourierUnit(nn.Module):
    """A 1×1 convolution of the spectrum: every output pixel sees the whole map.

    ``[B, channels, h, w]`` in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_layer = nn.Conv2d(2 * channels, 2 * channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        spectrum = torch.fft.rfftn(x, dim=(2, 3), norm="ortho")
        # Real and imaginary part of one channel lie side by side, as channels of their own.
        parts = torch.view_as_real(spectrum).permute(0, 1, 4, 2, 3).flatten(1, 2)
        parts = torch.relu(self.bn(self.conv_layer(parts)))
        real, imaginary = parts.reshape(batch, channels, 2, height, -1).unbind(2)
        spectrum = torch.complex(real, imaginary)
        return torch.fft.irfftn(spectrum, s=(height, width), dim=(2, 3), norm="ortho")


class SpectralTransform(nn.Module):
    """A Fourier unit between 1×1 convolutions to half the channels and back."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.conv1 = nn.Sequential(
            nn.Conv2d(inputs, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU()
        )
        self.fu = FourierUnit(half)
        self.conv2 = nn.Conv2d(half, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, inputs, h, w]`` → ``[B, outputs, h, w]``."""
        reduced = self.conv1(x)
        return self.conv2(reduced + self.fu(reduced))


class FourierConvolution(nn.Module):
    """The four ways between local (l) and global (g) channels, those that have both ends.

    Args:
        inputs, outputs: local and global channels.
        padding: reflected pixels on each side.
    """

    def __init__(
        self,
        inputs: tuple[int, int],
        outputs: tuple[int, int],
        kernel: int = 3,
        stride: int = 1,
        padding: int = 1,
    ) -> None:
        super().__init__()

        def path(taken: int, given: int) -> nn.Conv2d | None:
            if not taken or not given:
                return None
            return nn.Conv2d(
                taken, given, kernel, stride, padding, bias=False, padding_mode="reflect"
            )

        self.convl2l = nn.Conv2d(
            inputs[0], outputs[0], kernel, stride, padding, bias=False, padding_mode="reflect"
        )
        self.convl2g = path(inputs[0], outputs[1])
        self.convg2l = path(inputs[1], outputs[0])
        both = inputs[1] and outputs[1]
        self.convg2g = SpectralTransform(inputs[1], outputs[1]) if both else None

    def forward(self, x: Paths) -> Paths:
        near, far = self.convl2l(x.near), None
        if self.convl2g is not None:
            far = self.convl2g(x.near)
        if self.convg2l is not None:
            near = near + self.convg2l(x.far)
        if self.convg2g is not None:
            far = far + self.convg2g(x.far)
        return Paths(near, far)


class FourierLayer(nn.Module):
    """A Fourier convolution, then batch norm and ReLU of each path."""

    def __init__(
        self,
        inputs: tuple[int, int],
        outputs: tuple[int, int],
        kernel: int = 3,
        stride: int = 1,
        padding: int = 1,
    ) -> None:
        super().__init__()
        self.ffc = FourierConvolution(inputs, outputs, kernel, stride, padding)
        self.bn_l = nn.BatchNorm2d(outputs[0])
        self.bn_g = nn.BatchNorm2d(outputs[1]) if outputs[1] else None

    def forward(self, x: Paths) -> Paths:
        near, far = self.ffc(x)
        if self.bn_g is not None:
            far = torch.relu(self.bn_g(far))
        return Paths(torch.relu(self.bn_l(near)), far)


class FourierBlock(nn.Module):
    """Two layers whose result is added to what came in, path by path."""

    def __init__(self, channels: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = FourierLayer(channels, channels)
        self.conv2 = FourierLayer(channels, channels)

    def forward(self, x: Paths) -> Paths:
        change = self.conv2(self.conv1(x))
        return Paths(x.near + change.near, x.far + change.far)


class Split(nn.Module):
    """An image whose channels are all local."""

    def forward(self, x: Tensor) -> Paths:
        return Paths(x, None)


class Join(nn.Module):
    """Local, then global channels."""

    def forward(self, x: Paths) -> Tensor:
        assert x.far is not None
        return torch.cat([x.near, x.far], dim=1)
