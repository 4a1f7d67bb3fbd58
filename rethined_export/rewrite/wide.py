"""A mask once for every colour."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Wide(nn.Module):
    """Twin of ``mask.expand(-1, 3, -1, -1)``, exactly: a 1×1 convolution with ones.

    Where pixels keep their channels together, a product of one channel with three is taken three
    numbers at a time; of three with three, as many as the processor takes.
    """

    ones: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ones", torch.ones(3, 1, 1, 1))

    def forward(self, mask: Tensor) -> Tensor:
        """``[B, 1, H, W]`` → ``[B, 3, H, W]``."""
        return F.conv2d(mask, self.ones)
