"""A transposed convolution without output padding, which TFLite's converter refuses."""

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
