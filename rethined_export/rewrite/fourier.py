"""The Fourier unit as four products with constant matrices: no FFT, no complex numbers, rank ≤ 4.

A two-dimensional transform is one along the rows, then one along the columns. With the parts of a
number kept as rows of its own, real above imaginary, a complex matrix is a real one of twice the
size; and a transform along the rows that writes ``[real bins, imaginary bins]`` in place of each
row has, read as ``[2·height, bins]``, put them there already. So nothing is ever moved: between the
products only shapes change, and what the second one writes is the interleaving of channels that
the 1×1 convolution of the spectrum expects.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rethined_export.models.lama import FourierUnit, SpectralTransform


class FourierMatrices(nn.Module):
    """What the transforms of all maps of one size have in common; orthonormal.

    Real signals have ``bins = width // 2 + 1`` columns of their spectrum to keep.

    Args:
        height, width: of the maps.
    """

    rows: Tensor
    columns: Tensor
    columns_back: Tensor
    rows_back: Tensor

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width, self.bins = height, width, width // 2 + 1
        cos, sin = _waves(width, self.bins)
        self.register_buffer("rows", torch.cat([cos, -sin], dim=1).float())
        # A bin between the first and the middle one stands for its mirror image too. What the
        # imaginary parts of those two would add, the real inverse drops: their sines are zero.
        twice = torch.full((self.bins, 1), 2.0, dtype=torch.float64)
        twice[0] = 1
        if width % 2 == 0:
            twice[-1] = 1
        self.register_buffer("rows_back", torch.cat([twice * cos.T, -twice * sin.T]).float())
        cos, sin = _waves(height, height)
        # Rows of a plane are (row, part) on one side of the transform and (part, bin) on the other.
        forward = torch.stack([torch.stack([cos, sin], 2), torch.stack([-sin, cos], 2)])
        self.register_buffer("columns", forward.reshape(2 * height, 2 * height).float())
        self.register_buffer("columns_back", self.columns.T.contiguous())

    def spectrum(self, x: Tensor) -> Tensor:
        """``rfftn(x)``, parts as channels 2c and 2c + 1.

        ``[1, C, height, width]`` → ``[1, 2·C, height, bins]``.
        """
        channels = x.shape[1]
        parts = torch.matmul(x, self.rows).reshape(1, channels, 2 * self.height, self.bins)
        parts = torch.matmul(self.columns, parts)
        return parts.reshape(1, 2 * channels, self.height, self.bins)

    def image(self, parts: Tensor) -> Tensor:
        """``irfftn`` of parts as :meth:`spectrum` gives them, whether they are Hermitian or not.

        ``[1, 2·C, height, bins]`` → ``[1, C, height, width]``.
        """
        channels = parts.shape[1] // 2
        parts = parts.reshape(1, channels, 2 * self.height, self.bins)
        parts = torch.matmul(self.columns_back, parts)
        parts = parts.reshape(1, channels, self.height, 2 * self.bins)
        return torch.matmul(parts, self.rows_back)


def _waves(length: int, bins: int) -> tuple[Tensor, Tensor]:
    """Orthonormal cosines and sines ``[length, bins]``, float64."""
    # Whole turns are taken off while they are integers, so that sin(π·n) is small, not n·ε.
    steps = torch.outer(torch.arange(length), torch.arange(bins)) % length
    angle = 2 * math.pi * steps.double() / length
    return torch.cos(angle) / math.sqrt(length), torch.sin(angle) / math.sqrt(length)


class FourierProducts(nn.Module):
    """Twin of :class:`~rethined_export.models.lama.FourierUnit` for one image at one size.

    Args:
        unit: in eval mode; its batch norm is folded into the convolution.
        matrices: of the map's size, shared by all units that are given them.
    """

    def __init__(self, unit: FourierUnit, matrices: FourierMatrices) -> None:
        super().__init__()
        self.conv_layer = fuse_conv_bn_eval(unit.conv_layer, unit.bn)
        self.matrices = matrices

    def forward(self, x: Tensor) -> Tensor:
        """``[1, C, height, width]`` in and out."""
        parts = self.conv_layer(self.matrices.spectrum(x))
        return self.matrices.image(torch.relu(parts))


class SpectralProducts(nn.Module):
    """Twin of :class:`~rethined_export.models.lama.SpectralTransform`, in the same way."""

    def __init__(self, transform: SpectralTransform, matrices: FourierMatrices) -> None:
        super().__init__()
        conv, norm, _ = transform.conv1
        self.conv1 = fuse_conv_bn_eval(cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm))
        self.fu = FourierProducts(transform.fu, matrices)
        self.conv2 = transform.conv2

    def forward(self, x: Tensor) -> Tensor:
        """``[1, inputs, height, width]`` → ``[1, outputs, height, width]``."""
        reduced = torch.relu(self.conv1(x))
        return self.conv2(reduced + self.fu(reduced))
