"""The U-Net of partial convolutions.

"Image Inpainting for Irregular Holes Using Partial Convolutions", arXiv 1804.07723. Its authors
published the layer, but no network; this is the one of the public PyTorch port.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.partial_conv.config import PartialConvConfig
from rethined_export.models.partial_conv.layers import PartialConv
from rethined_export.models.seeded import seed_weights

_SLOPE = 0.2


def leaky(x: Tensor) -> Tensor:
    """The decoder's activation."""
    return F.leaky_relu(x, _SLOPE)


class Layer(nn.Module):
    """A partial convolution, a batch norm unless left out, and an activation.

    Args:
        conv: registered as ``conv``.
        activate: what follows; the mask passes it by.
    """

    def __init__(
        self, conv: PartialConv, activate: Callable[[Tensor], Tensor], norm: bool = True
    ) -> None:
        super().__init__()
        self.conv, self.activate = conv, activate
        self.bn = nn.BatchNorm2d(conv.input_conv.out_channels) if norm else None

    def forward(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        x, known = self.conv(x, known)
        if self.bn is not None:
            x = self.bn(x)
        return self.activate(x), known


class PartialConvNet(nn.Module):
    """The network; a state dict's keys are those of the public checkpoint."""

    def __init__(self, config: PartialConvConfig) -> None:
        super().__init__()
        self.config = config
        for layer in range(1, config.layers + 1):
            above, here = config.channels(layer - 1), config.channels(layer)
            conv = PartialConv(above, here, config.kernel(layer), stride=2)
            self.add_module(f"enc_{layer}", Layer(conv, torch.relu, norm=layer > 1))
        for layer in range(config.layers, 1, -1):
            above, here = config.channels(layer - 1), config.channels(layer)
            conv = PartialConv(here + above, above, 3)
            self.add_module(f"dec_{layer}", Layer(conv, leaky))
        last = PartialConv(config.channels(1) + 3, 3, 3, bias=True)
        self.add_module("dec_1", Layer(last, lambda x: x, norm=False))

    def forward(self, image: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Paint.

        Args:
            image: ``[B, 3, H, W]``, RGB less the mean colour, over its deviation; what lies in the
                hole does not matter.
            known: ``[B, 1, H, W]``, 1 = known, 0 = hole.

        Returns:
            The image, known pixels painted too, like the one given; and ``[B, 1, H, W]``, 0 where
            no known pixel was in reach.

        Raises:
            ValueError: a side is no multiple of 2 to the number of layers.
        """
        self.config.check_size(image.shape[2], image.shape[3])
        x, seen, skips = image, known.expand_as(image), []
        for layer in range(1, self.config.layers + 1):
            skips.append((x, seen))
            x, seen = self.get_submodule(f"enc_{layer}")(x, seen)
        for layer in range(self.config.layers, 0, -1):
            skip, skip_seen = skips.pop()
            joined = torch.cat([doubled(x), skip], dim=1)
            both = torch.cat([doubled(seen), skip_seen], dim=1)
            x, seen = self.get_submodule(f"dec_{layer}")(joined, both)
        return x, seen[:, :1]


def doubled(x: Tensor) -> Tensor:
    """``[B, C, h, w]`` → ``[B, C, 2h, 2w]``, each value four times."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def reached(config: PartialConvConfig, known: Tensor) -> Tensor:
    """Where the network has something to paint from: its second output, without its first.

    A window holds something known exactly where the largest value in it is.

    Args:
        known: ``[B, 1, H, W]``, 1 or 0.
    """
    maps = [known]
    for layer in range(1, config.layers + 1):
        kernel = config.kernel(layer)
        maps.append(F.max_pool2d(maps[-1], kernel, stride=2, padding=kernel // 2))
    seen = maps.pop()
    while maps:
        seen = F.max_pool2d(torch.maximum(doubled(seen), maps.pop()), 3, stride=1, padding=1)
    return seen


def constant_keys(model: PartialConvNet) -> frozenset[str]:
    """Tensors that no training changes: the kernels of ones."""
    return frozenset(key for key in model.state_dict() if key.endswith("mask_conv.weight"))


def seed_stand_in(model: PartialConvNet) -> None:
    """Fill a network in place with weights that follow from its tensors' names.

    Kernels are made as many times larger as a window has taps, which the layers divide by.
    """
    seed_weights(model, 1.0, constant_keys(model))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, PartialConv):
                module.input_conv.weight.mul_(module.taps)
