"""DFNet as it is exported: its first result alone, norms folded, in RGB where an app gives RGB."""

import copy
from collections.abc import Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rethined_export.models.dfnet import DfNet, Fusion
from rethined_export.models.dfnet.unet import Convolution, last

M = TypeVar("M", bound=nn.Module)
#: Places of the colours in the other order; a fourth channel stays.
_SWAPPED = (2, 1, 0, 3)


class Painter(nn.Module):
    """Twin of the first result of :class:`~rethined_export.models.dfnet.DfNet`.

    Args:
        network: in eval mode; it is copied.
        rgb: colours come and go in this order, not the network's own, BGR: its first and last
            weights change places.
    """

    def __init__(self, network: DfNet, *, rgb: bool) -> None:
        super().__init__()
        self.unet = without_norms(network)
        self.fusion = cast(Fusion, self.unet.get_submodule("fuse_0"))
        for level in range(1, len(self.unet.decoders)):
            if hasattr(self.unet, f"fuse_{level}"):
                delattr(self.unet, f"fuse_{level}")
        if rgb:
            _swap_colours(self.unet, self.fusion)
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, 4, H, W]``, masked image and what is known → ``[N, 3, H, W]`` in (0, 1)."""
        return self.fusion(x[:, :3], last(self.unet.levels(x))).result


class PlainPainter(nn.Module):
    """Twin of :class:`~rethined_export.models.dfnet.DfNetInpainter`."""

    def __init__(self, network: DfNet) -> None:
        super().__init__()
        self.painter = Painter(network, rgb=True)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Image ``[N, 3, H, W]`` and mask ``[N, 1, H, W]`` → image, its hole filled."""
        known = 1 - mask
        masked = image * known
        return masked + self.painter(torch.cat([masked, known], dim=1)) * mask


def without_norms(model: M) -> M:
    """A copy whose batch norms are folded into the convolutions before them.

    Args:
        model: in eval mode, of :class:`Convolution` and norms in sequences.
    """
    made = copy.deepcopy(model).requires_grad_(False)
    for parent in list(made.modules()):
        if isinstance(parent, nn.Sequential):
            _fold(parent)
    return made


def _fold(layers: nn.Sequential) -> None:
    for place, layer in enumerate(layers):
        if isinstance(layer, nn.BatchNorm2d):
            before = layers[place - 1]
            assert isinstance(before, Convolution)
            _replace(before, fuse_conv_bn_eval(conv_of(before), layer))
            layers[place] = nn.Identity()


def conv_of(layer: nn.Module) -> nn.Conv2d:
    """The convolution proper, behind its padding."""
    assert isinstance(layer, Convolution)
    conv = layer.conv[1] if isinstance(layer.conv, nn.Sequential) else layer.conv
    return cast(nn.Conv2d, conv)


def _replace(layer: Convolution, conv: nn.Conv2d) -> None:
    if isinstance(layer.conv, nn.Sequential):
        layer.conv[1] = conv
    else:
        layer.conv = conv


def _swap_colours(unet: DfNet, fusion: Fusion) -> None:
    """Exchange red and blue where colours enter, leave, and pass."""
    first = conv_of(unet.get_submodule(f"{unet.encoders[0]}.encode")[0])  # type: ignore[index]
    last = conv_of(unet.get_submodule(f"{unet.decoders[-1]}.decode")[0])  # type: ignore[index]
    skipped = last.in_channels - len(_SWAPPED)
    _take(first, _SWAPPED)
    _take(last, (*range(skipped), *(skipped + place for place in _SWAPPED)))
    _give(conv_of(fusion.map2img[0]))
    blend = fusion.blend.blend
    _take(conv_of(blend[0]), (2, 1, 0, 5, 4, 3))
    _give(conv_of(blend[6]))


def _take(conv: nn.Conv2d, places: Sequence[int]) -> None:
    conv.weight = nn.Parameter(conv.weight[:, list(places)])


def _give(conv: nn.Conv2d) -> None:
    assert conv.bias is not None
    conv.weight = nn.Parameter(conv.weight.flip(0))
    conv.bias = nn.Parameter(conv.bias.flip(0))
