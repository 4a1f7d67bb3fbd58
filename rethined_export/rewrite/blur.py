"""Gaussian blur as two one-dimensional depthwise convolutions: 14 multiply-adds, not 49."""

from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined.filters import BLUR_SIDE, gaussian_taps
from rethined_export.rewrite.reflect import reflect_pad

_HALO = BLUR_SIDE // 2


class SeparableBlur(nn.Module):
    """Twin of ``filters.gaussian_blur`` for RGB images: ``[1, 3, H, W]`` in and out."""

    rows: Tensor
    columns: Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = gaussian_taps().float()
        self.register_buffer("rows", taps.reshape(1, 1, -1, 1).repeat(3, 1, 1, 1))
        self.register_buffer("columns", taps.reshape(1, 1, 1, -1).repeat(3, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        tall = F.conv2d(reflect_pad(x, _HALO, (2,)), self.rows, groups=3)
        return F.conv2d(reflect_pad(tall, _HALO, (3,)), self.columns, groups=3)
