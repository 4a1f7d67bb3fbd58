"""TensorFlow 1's bilinear enlargement, whose first pixels lie on each other."""

import torch
from torch import Tensor
from torch.nn import functional as F


def enlarged(x: Tensor, by: int) -> Tensor:
    """By a whole number: pixel i of the result lies at i/by, and behind the last pixel is the last.

    With one more pixel of that on each side the corners of both maps lie on each other, which is a
    form that every runtime has.

    Args:
        x: ``[B, C, h, w]``.

    Returns:
        ``[B, C, by·h, by·w]``.
    """
    height, width = by * x.shape[2], by * x.shape[3]
    x = torch.cat([x, x[:, :, -1:]], dim=2)
    x = torch.cat([x, x[:, :, :, -1:]], dim=3)
    x = F.interpolate(x, (height + 1, width + 1), mode="bilinear", align_corners=True)
    return x[:, :, :height, :width]
