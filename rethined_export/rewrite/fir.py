"""Enlargement by two with a fixed filter, as nearest neighbours and one 3×3 depthwise convolution.

Inserting zeros and filtering with taps ``w`` of four gives, along one axis,

    even outputs   w0·previous + w2·current
    odd outputs    w1·current  + w3·next

and so does the filter ``[w0, w2 − w3, w3]`` on doubled pixels, where each output sees its source
twice, if ``w0 + w2 = w1 + w3``: both kinds of output then have the same sum of weights, as any
filter that keeps a constant must. A transposed depthwise convolution needs no such condition, but
LiteRT has none: it becomes one convolution for each channel.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_NARROWER = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, -1], [0, 0, 0, 1]], dtype=torch.float64)
_ODD_FROM_EVEN = torch.tensor([1.0, -1, 1, -1], dtype=torch.float64)


class FirUpsample(nn.Module):
    """Twin of zero insertion, padding (2, 1) and a depthwise 4×4 filter.

    ``[N, C, h, w]`` → ``[N, C, 2h, 2w]``.

    Args:
        taps: of the plain filter, ``[C, 1, 4, 4]``.

    Raises:
        ValueError: even and odd outputs have different sums of weights.
    """

    kernel: Tensor

    def __init__(self, taps: Tensor) -> None:
        super().__init__()
        exact = taps.detach().double()
        uneven = torch.maximum((exact @ _ODD_FROM_EVEN).abs(), (_ODD_FROM_EVEN @ exact).abs())
        if uneven.max() > torch.finfo(torch.float32).eps * exact.abs().sum(dim=(2, 3)).max():
            raise ValueError(
                f"filter taps weigh even and odd outputs differently, by {uneven.max():.3g}; "
                "enlarge with a transposed convolution instead"
            )
        self.register_buffer("kernel", (_NARROWER @ exact @ _NARROWER.T).float())

    def forward(self, x: Tensor) -> Tensor:
        doubled = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return F.conv2d(doubled, self.kernel, padding=1, groups=x.shape[1])
