"""Sums over square windows of one channel.

What a convolution with ones over many equal channels gives in each of its outputs, divided by the
number of channels: no kernel of ones, as large as the weights, in the file, and one channel's work.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BoxSum(nn.Module):
    """Twin of a convolution with ones, padded by half its odd kernel: ``[B, 1, h, w]`` in and out.

    Args:
        side: of the window, in pixels.
    """

    ones: Tensor

    def __init__(self, side: int, stride: int = 1) -> None:
        super().__init__()
        self.side, self.stride = side, stride
        self.register_buffer("ones", torch.ones(1, 1, side, side))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.ones, stride=self.stride, padding=self.side // 2)
