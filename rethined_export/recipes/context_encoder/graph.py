"""The context encoder as it is exported: batch norms folded, and one vector enlarged as one."""

import copy
from typing import cast

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rethined_export.models.context_encoder import ContextEncoder
from rethined_export.rewrite.transposed import PixelToMap


def rewritten(model: ContextEncoder) -> nn.Sequential:
    """Twin of the network.

    Args:
        model: in eval mode; it is copied.
    """
    layers: list[nn.Module] = []
    for layer in copy.deepcopy(model).main:
        if isinstance(layer, nn.BatchNorm2d):
            conv = layers.pop()
            assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)
            transposed = isinstance(conv, nn.ConvTranspose2d)
            layer = fuse_conv_bn_eval(conv, layer, transpose=transposed)
        layers.append(layer)
    (place,) = (i for i, layer in enumerate(layers) if _takes_one_pixel(layer))
    layers[place] = PixelToMap(cast(nn.ConvTranspose2d, layers[place]))
    return nn.Sequential(*layers).eval().requires_grad_(False)


def _takes_one_pixel(layer: nn.Module) -> bool:
    """The only enlargement without a stride stands behind the bottleneck."""
    return isinstance(layer, nn.ConvTranspose2d) and layer.stride == (1, 1)
