"""A convolution over a map that was doubled in size and joined by another, without that map.

At full size of a photo the doubled map is the largest of a U-Net, and joined it is copied.
"""

import torch
from torch import Tensor, nn


class EnlargingConv(nn.Module):
    """Twin of ``conv(cat([interpolate(x, scale_factor=2), skip], dim=1))``, nearest neighbours.

    The part over the doubled map is one transposed convolution: of a kernel's three taps, two fall
    on one pixel that was doubled, and are added up beforehand.

    Args:
        conv: kernel 3, stride 1, padding 1.
        doubled: channels of ``x``, the first of the convolution's.

    Raises:
        ValueError: a convolution of another shape.
    """

    def __init__(self, conv: nn.Conv2d, doubled: int) -> None:
        super().__init__()
        shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
        if shape != ((3, 3), (1, 1), (1, 1), (1, 1), 1) or conv.padding_mode != "zeros":
            raise ValueError(f"{conv} is not of kernel 3, stride 1 and padding 1 with zeros")
        outputs, skipped = conv.out_channels, conv.in_channels - doubled
        self.enlarge = nn.ConvTranspose2d(
            doubled, outputs, kernel_size=4, stride=2, padding=1, bias=False
        )
        self.join = nn.Conv2d(skipped, outputs, 3, padding=1, bias=conv.bias is not None)
        first, second = conv.weight.detach()[:, :doubled], conv.weight.detach()[:, doubled:]
        kernel = _doubled_taps(_doubled_taps(first, 2), 3).transpose(0, 1)
        self.enlarge.weight = nn.Parameter(kernel.contiguous())
        self.join.weight = nn.Parameter(second.contiguous())
        if conv.bias is not None:
            self.join.bias = nn.Parameter(conv.bias.detach().clone())
        self.requires_grad_(False)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """``[B, doubled, h, w]`` and ``[B, C, 2h, 2w]`` → ``[B, C', 2h, 2w]``."""
        return self.enlarge(x) + self.join(skip)


def _doubled_taps(kernel: Tensor, axis: int) -> Tensor:
    """Three taps along an axis → four of a transposed convolution of stride 2."""
    before, middle, after = kernel.unbind(axis)
    return torch.stack([after, middle + after, before + middle, before], axis)
