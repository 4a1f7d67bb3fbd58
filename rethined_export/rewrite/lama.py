"""LaMa for one size: image and mask in, image out, every batch norm folded away."""

import copy
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rethined_export.models.lama import (
    FourierBlock,
    FourierLayer,
    Inpainter,
    Lama,
    MultiDilatedConvolution,
)
from rethined_export.models.lama.config import STRIDE
from rethined_export.models.lama.fourier import Paths
from rethined_export.models.lama.model import check_size
from rethined_export.models.lama.residual import ResidualBlock
from rethined_export.rewrite.fourier import FourierMatrices, SpectralProducts
from rethined_export.rewrite.transposed import CroppedTransposed


def rewritten(model: Lama, height: int, width: int) -> Inpainter:
    """The whole inpainter for images of one size, in the form all targets take.

    Args:
        model: in eval mode; it is copied.

    Raises:
        ValueError: the network takes no images of this size.
    """
    check_size(model.config, width, height)
    matrices = FourierMatrices(height // STRIDE, width // STRIDE)
    layers = nn.Sequential(*_rewrite(copy.deepcopy(model).model, matrices))
    return Inpainter(layers).eval().requires_grad_(False)


def _rewrite(layers: Iterable[nn.Module], matrices: FourierMatrices) -> Iterator[nn.Module]:
    """The layers of a sequence, batch norms folded into what comes before them."""
    kept: nn.Module | None = None
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            kept = _fold(kept, layer)
            continue
        if kept is not None:
            yield kept
        kept = _rewritten_layer(layer, matrices)
    if kept is not None:
        yield kept


def _rewritten_layer(layer: nn.Module, matrices: FourierMatrices) -> nn.Module:
    if isinstance(layer, nn.ConvTranspose2d):
        return CroppedTransposed(layer)
    if isinstance(layer, FourierLayer):
        return FourierLayerProducts(layer, matrices)
    if isinstance(layer, FourierBlock):
        layer.conv1 = FourierLayerProducts(layer.conv1, matrices)
        layer.conv2 = FourierLayerProducts(layer.conv2, matrices)
    if isinstance(layer, ResidualBlock):
        layer.conv_block = nn.Sequential(*_rewrite(layer.conv_block, matrices))
    return layer


def _fold(layer: nn.Module | None, norm: nn.BatchNorm2d) -> nn.Module:
    if isinstance(layer, MultiDilatedConvolution):
        scale, shift = _affine(norm)
        with torch.no_grad():
            for conv in layer.convs:
                conv.weight.mul_(scale.reshape(-1, 1, 1, 1))
                conv.bias.mul_(scale)
            layer.convs[0].bias.add_(shift)
        return layer
    if isinstance(layer, CroppedTransposed):
        layer.conv = fuse_conv_bn_eval(layer.conv, norm, transpose=True)
        return layer
    return fuse_conv_bn_eval(layer, norm)


class FourierLayerProducts(nn.Module):
    """Twin of FourierLayer"""

    def __init__(self, layer: FourierLayer, matrices: FourierMatrices) -> None:
        super().__init__()
        ffc = layer.ffc
        self.convl2l = fuse_conv_bn_eval(ffc.convl2l, layer.bn_l)
        self.convl2g = fuse_conv_bn_eval(ffc.convl2g, layer.bn_g) if ffc.convl2g else None
        self.convg2l = ffc.convg2l
        self.convg2g = None
        with torch.no_grad():
            if self.convg2l is not None:
                self.convg2l.weight.mul_(_affine(layer.bn_l)[0].reshape(-1, 1, 1, 1))
            if ffc.convg2g is not None:
                ffc.convg2g.conv2.weight.mul_(_affine(layer.bn_g)[0].reshape(-1, 1, 1, 1))
                self.convg2g = SpectralProducts(ffc.convg2g, matrices)

    def forward(self, x: Paths) -> Paths:
        near, far = self.convl2l(x.near), None
        if self.convl2g is not None:
            far = self.convl2g(x.near)
        if self.convg2l is not None:
            near = near + self.convg2l(x.far)
        if self.convg2g is not None:
            far = far + self.convg2g(x.far)
        return Paths(torch.relu(near), None if far is None else torch.relu(far))


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """A batch norm's scale and shift, from its running statistics."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale
