"""Transposed convolutions in forms that TFLite's converter takes, or makes something good of."""

import copy

from torch import Tensor, nn


class CroppedTransposed(nn.Module):
    """Twin of a transposed convolution of kernel 3, stride 2, padding 1 and output padding 1.

    Without any padding the output has one row and column more, all at its start: padding takes one
    off each side, and output padding gives the last one back. A kernel of 4, its last row and
    column zero, would give the same in one operator, but multiplies and stores 16 numbers for 9.

    Raises:
        ValueError: a transposed convolution of another shape.
    """

    def __init__(self, conv: nn.ConvTranspose2d) -> None:
        super().__init__()
        shape = (conv.kernel_size, conv.stride, conv.padding, conv.output_padding, conv.dilation)
        if shape != ((3, 3), (2, 2), (1, 1), (1, 1), (1, 1)):
            raise ValueError(
                f"{conv} cannot be cropped; expected kernel 3, stride 2, padding 1, "
                "output padding 1 and dilation 1"
            )
        self.conv = copy.deepcopy(conv)
        self.conv.padding = self.conv.output_padding = (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, h, w]`` → ``[B, C', 2·h, 2·w]``."""
        return self.conv(x)[:, :, 1:, 1:]


class PixelToMap(nn.Module):
    """Twin of a transposed convolution without padding, of one pixel: a product with its kernel.

    TFLite's converter makes it a convolution over zeros, which multiplies with the kernel as many
    times as that has taps, and takes minutes to turn a large one around.

    Args:
        conv: its kernel is square; the stride is of no consequence.

    Raises:
        ValueError: it is padded, dilated or grouped.
    """

    def __init__(self, conv: nn.ConvTranspose2d) -> None:
        super().__init__()
        shape = (conv.padding, conv.output_padding, conv.dilation, conv.groups)
        if shape != ((0, 0), (0, 0), (1, 1), 1) or conv.kernel_size[0] != conv.kernel_size[1]:
            raise ValueError(f"{conv} of one pixel is no product with its kernel")
        self.side, self.outputs = conv.kernel_size[0], conv.out_channels
        taps = self.side**2
        self.product = nn.Conv2d(
            conv.in_channels, taps * self.outputs, 1, bias=conv.bias is not None
        )
        weight = conv.weight.detach().flatten(1).T.contiguous()
        self.product.weight = nn.Parameter(weight[:, :, None, None])
        if conv.bias is not None:
            self.product.bias = nn.Parameter(conv.bias.detach().repeat_interleave(taps))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, 1, 1]`` → ``[B, C', k, k]``."""
        return self.product(x).reshape(-1, self.outputs, self.side, self.side)
