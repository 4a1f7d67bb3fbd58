"""The partial convolution: a sum over known taps, divided by how many there are."""

import torch
from torch import Tensor, nn


class PartialConv(nn.Module):
    """A convolution of known values only, over the number of known taps; and what is known then.

    As in the public PyTorch network, the sum is not multiplied by the size of the window, which the
    paper's formula is: kernels are as many times larger as a window has taps.

    Args:
        inputs, outputs: channels.
        kernel: odd; padded by zeros, which count as unknown, to keep what stride 1 keeps.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = False
    ) -> None:
        super().__init__()
        self.input_conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias)
        #: All ones, and among the weights of public checkpoints.
        self.mask_conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        nn.init.ones_(self.mask_conv.weight)
        self.mask_conv.weight.requires_grad_(False)

    @property
    def taps(self) -> int:
        """Of a whole window, over all channels."""
        return self.input_conv.weight[0].numel()

    def forward(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Both of ``[B, inputs, h, w]``; known is 1, or 0 where a value is not to be looked at.

        Returns:
            ``[B, outputs, h', w']``, 0 where no tap is known; and 1 or 0 for where one is.
        """
        count = self.mask_conv(known)
        found = count > 0
        mixed = self.input_conv(x * known)
        if self.input_conv.bias is None:
            mean = mixed / count
        else:
            bias = self.input_conv.bias.reshape(1, -1, 1, 1)
            mean = (mixed - bias) / count + bias
        return torch.where(found, mean, 0), found.to(x.dtype)
