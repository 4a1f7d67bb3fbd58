"""LaMa for images of one size, in operators that all targets take and run fast.

Batch norms are folded away, borders reflected by slices, Fourier units made matrix products and
transposed convolutions cropped.
"""

import copy
from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rethined_export.models.lama import (
    FourierBlock,
    FourierLayer,
    Lama,
    MultiDilatedConvolution,
    Paths,
    ResidualBlock,
)
from rethined_export.models.lama.config import STRIDE
from rethined_export.rewrite.fourier import FourierMatrices, SpectralProducts
from rethined_export.rewrite.reflect import ReflectedConv, ReflectPad, reflect_pad, unpadded
from rethined_export.rewrite.transposed import CroppedTransposed


def rewritten(model: Lama, height: int, width: int) -> nn.Sequential:
    """Twin of :class:`~rethined_export.models.lama.Lama` for images of one size.

    Args:
        model: in eval mode; it is copied.

    Raises:
        ValueError: the network takes no images of this size.
    """
    model.config.check_size(height, width)
    matrices = FourierMatrices(height // STRIDE, width // STRIDE)
    layers = _rewritten_layers(copy.deepcopy(model).model, matrices)
    return nn.Sequential(*layers).eval().requires_grad_(False)


def _rewritten_layers(
    layers: Iterable[nn.Module], matrices: FourierMatrices
) -> Iterator[nn.Module]:
    """A sequence with each batch norm folded into the layer before it."""
    pending: nn.Module | None = None
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d) and pending is not None:
            pending = _folded(pending, layer)
            continue
        if pending is not None:
            yield pending
        pending = _rewritten_layer(layer, matrices)
    if pending is not None:
        yield pending


def _rewritten_layer(layer: nn.Module, matrices: FourierMatrices) -> nn.Module:
    match layer:
        case nn.ReflectionPad2d():
            return ReflectPad(layer.padding[0])
        case nn.ConvTranspose2d():
            return CroppedTransposed(layer)
        case nn.Sequential():
            return nn.Sequential(*_rewritten_layers(layer, matrices))
        case ResidualBlock():
            layer.conv_block = nn.Sequential(*_rewritten_layers(layer.conv_block, matrices))
        case MultiDilatedConvolution():
            convs = (ReflectedConv(cast(nn.Conv2d, conv)) for conv in layer.convs)
            layer.convs = nn.ModuleList(convs)
        case FourierLayer():
            return FoldedFourierLayer(layer, matrices)
        case FourierBlock():
            layer.add_module("conv1", FoldedFourierLayer(layer.conv1, matrices))
            layer.add_module("conv2", FoldedFourierLayer(layer.conv2, matrices))
    return layer


def _folded(layer: nn.Module, norm: nn.BatchNorm2d) -> nn.Module:
    match layer:
        case nn.Conv2d():
            return fuse_conv_bn_eval(layer, norm)
        case CroppedTransposed():
            layer.conv = fuse_conv_bn_eval(layer.conv, norm, transpose=True)
        case MultiDilatedConvolution():
            first, *others = (cast(ReflectedConv, conv) for conv in layer.convs)
            first.conv = fuse_conv_bn_eval(first.conv, norm)
            for other in others:
                _scale(other.conv, norm)
        case _:
            raise TypeError(f"no batch norm is expected after {layer}")
    return layer


def _scale(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Fold all but a batch norm's shift into one of several convolutions that are added up."""
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    conv.weight = nn.Parameter(conv.weight * scale.reshape(-1, 1, 1, 1))
    if conv.bias is not None:
        conv.bias = nn.Parameter(conv.bias * scale)
    return conv


class FoldedFourierLayer(nn.Module):
    """Twin of :class:`~rethined_export.models.lama.FourierLayer`; each path is reflected once.

    Args:
        layer: in eval mode; its convolutions are taken over and changed.
        matrices: of the map's size.
    """

    def __init__(self, layer: FourierLayer, matrices: FourierMatrices) -> None:
        super().__init__()
        ffc, near, far = layer.ffc, layer.bn_l, layer.bn_g
        self.convl2l = fuse_conv_bn_eval(ffc.convl2l, near)
        self.reach = unpadded(self.convl2l)
        self.convl2g = self.convg2l = self.convg2g = None
        if ffc.convl2g is not None and far is not None:
            self.convl2g = fuse_conv_bn_eval(ffc.convl2g, far)
            unpadded(self.convl2g)
        if ffc.convg2l is not None:
            self.convg2l = _scale(ffc.convg2l, near)
            unpadded(self.convg2l)
        if ffc.convg2g is not None and far is not None:
            _scale(ffc.convg2g.conv2, far)
            self.convg2g = SpectralProducts(ffc.convg2g, matrices)

    def forward(self, x: Paths) -> Paths:
        padded = reflect_pad(x.near, self.reach)
        near, far = self.convl2l(padded), None
        if self.convl2g is not None:
            far = self.convl2g(padded)
        if self.convg2l is not None and x.far is not None:
            near = near + self.convg2l(reflect_pad(x.far, self.reach))
        if self.convg2g is not None:
            far = far + self.convg2g(x.far)
        return Paths(torch.relu(near), None if far is None else torch.relu(far))
