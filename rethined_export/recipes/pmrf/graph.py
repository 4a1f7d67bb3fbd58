"""The network for images of one size, in operators that all targets take."""

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.pmrf import (
    LEVELS,
    STRIDE,
    Attention,
    Layer,
    PartialConv,
    Pmrf,
    Rule,
    composite,
    contour,
    mask_update,
    native_input,
)
from rethined_export.models.pmrf.attention import FLOOR, NEVER, SHARPNESS
from rethined_export.models.pmrf.layers import EPSILON, SLOPE
from rethined_export.rewrite.box import BoxSum
from rethined_export.rewrite.differences import CentralDifferences, HalvedDetail
from rethined_export.rewrite.mixing import dense_mix
from rethined_export.rewrite.standard import instance_norm


class Native(nn.Module):
    """The network as it is exported alone: all that it takes is one tensor."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, packed: Tensor, rule: Rule = mask_update) -> tuple[Tensor, Tensor]:
        """``[1, 4, H, W]``, see :func:`native_input`, → painted and updates."""
        painted, updates = self.network(packed[:, :3], packed[:, 3:], rule)
        return painted, updates


class Plain(Native):
    """Twin of :class:`~rethined_export.models.pmrf.Inpainter` that also gives the updates."""

    def forward(  # type: ignore[override] # what every model takes
        self, image: Tensor, mask: Tensor, rule: Rule = mask_update
    ) -> tuple[Tensor, Tensor]:
        """Image ``[1, 3, H, W]`` and mask ``[1, 1, H, W]`` → image, hole filled, and updates."""
        painted, updates = super().forward(native_input(image, mask), rule)
        return composite(painted, image, mask), updates


def rewritten(model: Pmrf, height: int, width: int) -> Pmrf:
    """Twin of the network for images of one size, and one at a time.

    Args:
        model: in eval mode; it is not changed.
    """
    made = copy.deepcopy(model).requires_grad_(False)
    lowest = height // STRIDE, width // STRIDE
    planes = [Planes(i, lowest[0] << i, lowest[1] << i) for i in range(LEVELS)]
    masked = made.config.masked_stages
    for parts in (made.stages, made.fusions):
        for number, part in enumerate(parts):
            for name, layer in list(part.named_modules()):
                if isinstance(layer, Layer):
                    twin = (
                        MaskedLayer(layer.partial, planes[layer.partial.level])
                        if number < masked
                        else WholeLayer(layer.partial.conv)
                    )
                    part.set_submodule(name, twin)
    made.set_submodule("fill", UnrolledFill(made.config.channels(0), *lowest))
    for place, attention in enumerate(made.attentions):
        made.attentions[place] = RewrittenAttention(cast(Attention, attention))
    return made.eval()


class Planes(nn.Module):
    """What is computed of single channels; all layers of a level share it."""

    def __init__(self, level: int, height: int, width: int) -> None:
        super().__init__()
        self.gradient = CentralDifferences(height, width)
        self.detail = HalvedDetail(height, width) if level else nn.Identity()


class MaskedLayer(nn.Module):
    """Twin of :class:`Layer` where not all is known, and nothing but 0 where it is not.

    The number of a window's places, which sums are multiplied by, goes into the weights.
    """

    bias: Tensor

    def __init__(self, plain: PartialConv, planes: Planes) -> None:
        super().__init__()
        self.conv, bias = _without_bias(plain.conv)
        self.conv.weight = nn.Parameter(plain.conv.weight * 9, requires_grad=False)
        self.register_buffer("bias", bias)
        self.level, self.stride = plain.level, plain.stride
        self.count = BoxSum(3, plain.stride)
        self.planes = planes if plain.stride == 1 else None

    def forward(self, x: Tensor, known: Tensor, rule: Rule = mask_update) -> tuple[Tensor, Tensor]:
        count = self.count(known)
        if self.planes is not None:
            mean = x.mean(1, keepdim=True)
            rho = contour(mean, known, self.level, self.planes.gradient, self.planes.detail)
            found = rule(known, count, count * rho)
        else:
            found = F.max_pool2d(known, self.stride, self.stride)
        x = self.conv(x) * (found / count.clamp_min(1.0)) + self.bias * found
        return _activated(x) * found, found


class WholeLayer(nn.Module):
    """Twin of :class:`Layer` where all is known: what is added to a map, its norm takes away."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv, _ = _without_bias(conv)

    def forward(self, x: Tensor, known: None, rule: Rule = mask_update) -> tuple[Tensor, None]:
        return _activated(self.conv(x)), None


class UnrolledFill(nn.Module):
    """Twin of :class:`~rethined_export.models.pmrf.Fill`: as many rings as there can be.

    Args:
        channels, height, width: of the map.
    """

    ones: Tensor

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.rings = max(height, width) - 1
        self.count = BoxSum(3)
        self.register_buffer("ones", torch.ones(channels, 1, 3, 3))

    def forward(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        for _ in range(self.rings):
            count = self.count(known)
            around = F.conv2d(x, self.ones, padding=1, groups=len(self.ones))
            x = x + around * ((1 - known) / count.clamp_min(1.0))
            known = count.clamp_max(1.0)
        return x, known


class RewrittenAttention(Attention):
    """Twin of :class:`Attention`, patches by slices and in rank 4."""

    def __init__(self, plain: Attention) -> None:
        nn.Module.__init__(self)
        self.key, self.joins = plain.key, plain.joins

    def weights(self, keys: Tensor, hole: Tensor) -> Tensor:
        """``[N, N]``."""
        height, width = keys.shape[2:]
        padded = F.pad(keys, (1, 1, 1, 1))
        shifts = [(down, across) for down in range(3) for across in range(3)]
        patches = torch.cat(
            [
                padded[:, :, down : down + height, across : across + width]
                for down, across in shifts
            ],
            dim=1,
        ).reshape(-1, height * width)
        norm = torch.sqrt((patches * patches).sum(0, keepdim=True)).clamp_min(FLOOR)
        patches = patches / norm
        valid = 1 - hole.reshape(1, -1)
        logits = SHARPNESS * torch.matmul(patches.transpose(0, 1), patches) + NEVER * (1 - valid)
        return torch.softmax(logits, dim=1) * valid

    def mixed(self, x: Tensor, weights: Tensor, patch: int) -> Tensor:
        return dense_mix(x, weights, patch)


def _activated(x: Tensor) -> Tensor:
    return F.leaky_relu(instance_norm(x, EPSILON), SLOPE)


def _without_bias(plain: nn.Conv2d) -> tuple[nn.Conv2d, Tensor]:
    """The same without what it adds, and that, ``[1, C, 1, 1]``."""
    conv = nn.Conv2d(
        plain.in_channels, plain.out_channels, 3, plain.stride[0], padding=1, bias=False
    )
    conv.weight = plain.weight
    assert plain.bias is not None
    return conv, plain.bias.reshape(1, -1, 1, 1)
