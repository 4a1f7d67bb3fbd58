"""A transposed convolution without output padding, which TFLite's converter refuses."""

import torch
from torch import nn
from torch.nn import functional as F


def even_transposed(conv: nn.ConvTranspose2d) -> nn.ConvTranspose2d:
    """Twin with a 4×4 kernel of a 3×3, stride 2, padding 1, output padding 1 one.

    The output's last row and column are the ones that output padding asks for; a kernel with a last
    row and column of zeros has its output reach there, and adds nothing.

    Raises:
        ValueError: a transposed convolution of another shape.
    """
    shape = (conv.kernel_size, conv.stride, conv.padding, conv.output_padding, conv.dilation)
    if shape != ((3, 3), (2, 2), (1, 1), (1, 1), (1, 1)):
        raise ValueError(
            "expected a transposed convolution of kernel 3, stride 2, padding 1, output padding 1 "
            f"and dilation 1, not {conv}"
        )
    twin = nn.ConvTranspose2d(
        conv.in_channels,
        conv.out_channels,
        4,
        stride=2,
        padding=1,
        groups=conv.groups,
        bias=conv.bias is not None,
    )
    with torch.no_grad():
        twin.weight.copy_(F.pad(conv.weight, (0, 1, 0, 1)))
        if conv.bias is not None and twin.bias is not None:
            twin.bias.copy_(conv.bias)
    return twin.train(conv.training)
