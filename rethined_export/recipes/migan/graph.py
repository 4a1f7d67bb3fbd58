"""MI-GAN as it is exported: the same numbers from fewer and lighter operators."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.migan import MiGan, MiGanInpainter
from rethined_export.models.migan.blocks import GAIN, LIMIT, SLOPE, SeparableConv, Upsample
from rethined_export.models.migan.model import EncoderBlock
from rethined_export.rewrite.fir import FirUpsample


def rewritten(model: MiGan) -> MiGanInpainter:
    """The inpainter to export: image and mask in, composited image out.

    Args:
        model: reference in eval mode; it is copied.
    """
    return MiGanInpainter(rewritten_generator(model)).eval()


def rewritten_generator(model: MiGan) -> MiGan:
    """The bare generator to export, with its native input and raw output.

    Enlargements become :class:`FirUpsample`. Activations lose their gain to the weights before
    them (a leaky ReLU of √2·x is √2 times that of x), which saves a pass over every feature map,
    and noise becomes one constant.

    Args:
        model: reference in eval mode; it is copied.
    """
    generator = copy.deepcopy(model).requires_grad_(False)
    _replace_children(generator)
    return generator.eval()


def _replace_children(parent: nn.Module) -> None:
    for name, child in list(parent.named_children()):
        if isinstance(child, SeparableConv):
            setattr(parent, name, _FoldedConv(child))
        elif isinstance(child, Upsample):
            setattr(parent, name, FirUpsample(child.filter.weight))
        elif isinstance(child, EncoderBlock) and child.fromrgb is not None:
            setattr(parent, name, _FirstBlock(child))
        else:
            _replace_children(child)


def _limited(x: Tensor) -> Tensor:
    """``blocks.activate`` of a convolution that already holds its gain."""
    return torch.clamp(F.leaky_relu(x, SLOPE), -LIMIT, LIMIT)


def _with_gain(conv: nn.Conv2d) -> nn.Conv2d:
    scaled = copy.deepcopy(conv)
    scaled.weight.mul_(GAIN)
    if scaled.bias is not None:
        scaled.bias.mul_(GAIN)
    return scaled


class _FoldedConv(nn.Module):
    """Twin of :class:`SeparableConv`."""

    noise: Tensor

    def __init__(self, plain: SeparableConv) -> None:
        super().__init__()
        self.conv1, self.conv2 = _with_gain(plain.conv1), _with_gain(plain.conv2)
        self.downsample = plain.downsample
        up = plain.upsample
        self.upsample = FirUpsample(up.filter.weight) if up is not None else None
        self.noisy = plain.noisy
        if plain.noisy:
            noise = GAIN * plain.noise_const * plain.noise_strength
            self.register_buffer("noise", noise[None, None])

    def forward(self, x: Tensor) -> Tensor:
        x = _limited(self.conv1(x))
        if self.downsample is not None:
            x = self.downsample(x)
        x = self.conv2(x)
        if self.upsample is not None:
            x = self.upsample(x)
        if self.noisy:
            x = x + self.noise
        return _limited(x)


class _FirstBlock(nn.Module):
    """Twin of the :class:`EncoderBlock` that takes the input."""

    def __init__(self, plain: EncoderBlock) -> None:
        super().__init__()
        assert plain.fromrgb is not None
        self.fromrgb = _with_gain(plain.fromrgb)
        self.conv1, self.conv2 = _FoldedConv(plain.conv1), _FoldedConv(plain.conv2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        skip = self.conv1(_limited(self.fromrgb(x)))
        return self.conv2(skip), skip
