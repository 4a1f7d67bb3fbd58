"""AOT-GAN as it is exported: a block reflects its map once, and its gate sums in small steps."""

import copy

import torch
from torch import Tensor, nn

from rethined_export.models.aot_gan import AotBlock, AotGan
from rethined_export.models.aot_gan.model import EPSILON, SCALE
from rethined_export.rewrite.reflect import ReflectPad, reflect_pad
from rethined_export.rewrite.standard import standardised


def rewritten(model: AotGan) -> AotGan:
    """Twin of the generator.

    Args:
        model: in eval mode; it is copied.
    """
    generator = copy.deepcopy(model).requires_grad_(False)
    generator.encoder[0] = ReflectPad(3)
    for number, block in enumerate(generator.middle):
        assert isinstance(block, AotBlock)
        generator.middle[number] = FoldedBlock(block)
    return generator.eval()


class FoldedBlock(nn.Module):
    """Twin of :class:`AotBlock`, which reflects once as far as its widest branch reaches.

    Args:
        plain: its convolutions are taken over.
    """

    def __init__(self, plain: AotBlock) -> None:
        super().__init__()
        convs = [_conv(plain.get_submodule(name)) for name in plain.branches]
        self.branches = nn.ModuleList(convs)
        self.reaches = [conv.dilation[0] for conv in convs]
        self.fuse, self.gate = _conv(plain.fuse), _conv(plain.gate)

    def forward(self, x: Tensor) -> Tensor:
        most = max(self.reaches)
        padded = reflect_pad(x, most)
        found = torch.cat(
            [
                torch.relu(conv(_cut(padded, most - reach)))
                for conv, reach in zip(self.branches, self.reaches, strict=True)
            ],
            dim=1,
        )
        gate = self.gate(_cut(padded, most - 1))
        let_in = torch.sigmoid(2 * SCALE * standardised(gate, EPSILON) - SCALE)
        return x + (self.fuse(reflect_pad(found, 1)) - x) * let_in


def _conv(reflecting: nn.Module) -> nn.Conv2d:
    """The convolution behind a reflection, unpadded as it is."""
    conv = reflecting.get_submodule("1")
    assert isinstance(conv, nn.Conv2d)
    return conv


def _cut(x: Tensor, rim: int) -> Tensor:
    """``[B, C, h, w]`` without its outer pixels; a slice of everything is refused by Core ML."""
    if not rim:
        return x
    height, width = x.shape[2:]
    return x[:, :, rim : height - rim, rim : width - rim]
