"""A mask once for every colour."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Wide(nn.Module):
    """Twin of ``mask.expand(-1, 3, -1, -1)`` and of one less it, to the bit: 1×1 convolutions.

    Where pixels keep their channels together, a product of one channel with three is taken three
    numbers at a time; of three with three, as many as the processor takes. The second is not left
    to a subtraction behind the first: LiteRT's converter folds ``1 - convolution(x)`` into the
    convolution as if it were ``convolution(x) - 1``.
    """

    ones: Tensor
    minus: Tensor
    one: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ones", torch.ones(3, 1, 1, 1))
        self.register_buffer("minus", -torch.ones(3, 1, 1, 1))
        self.register_buffer("one", torch.ones(3))

    def forward(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, 1, H, W]`` → the mask and one less it, each ``[B, 3, H, W]``."""
        return F.conv2d(mask, self.ones), F.conv2d(mask, self.minus, self.one)
