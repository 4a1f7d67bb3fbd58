"""Push–pull: a hole filled by the mean colours around it, coarse to fine (Gortler et al., 1996)."""

import torch
from torch import Tensor
from torch.nn import functional as F

#: Side of the coarsest level, which always knows a colour; each is half of the one before.
_COARSEST = 1
#: A cell of which this share is known keeps its own mean; below, it leans on the coarser level.
_TRUSTED = 1 / 16
#: Smoothing passes over each level, up to the side where they no longer change the picture.
_SWEEPS, _SMOOTHED = 4, 128
#: Keeps a cell without any known pixel from dividing by zero; its quotient is not used.
_LEAST = 1e-6


def push_pull(x: Tensor, mask: Tensor) -> Tensor:
    """Fill the hole smoothly.

    Down: the mean of the known pixels of every 2×2 cell. Up: where little is known, the coarser
    level's colour, then 3×3 means that leave the known cells alone.

    Args:
        x: ``[B, 3, H, H]``, zero in the hole; H is a power of two.
        mask: ``[B, 1, H, H]``, 1 = hole.

    Returns:
        ``[B, 3, H, H]``, equal to ``x`` outside the hole; in a hole that spans the image, zeros.
    """
    return filled(x, mask, 1 - mask)


def filled(x: Tensor, mask: Tensor, known: Tensor) -> Tensor:
    """:func:`push_pull` with both masks given, of one channel or of three."""
    levels = [(x, known)]
    while levels[-1][0].shape[-1] > _COARSEST:
        colour, known = levels[-1]
        levels.append((F.avg_pool2d(colour, 2), F.avg_pool2d(known, 2)))
    colour, known = (_twice(level) for level in levels.pop())
    fill = colour / known.clamp(min=_LEAST)
    for step, (colour, known) in enumerate(reversed(levels)):
        above = fill
        if step > 0:
            above = F.interpolate(fill, scale_factor=2.0, mode="bilinear", align_corners=False)
        if colour is x:  # every pixel is known or zero: nothing to divide or to trust
            kept, open_ = x, mask
        else:
            trust = (known / _TRUSTED).clamp(max=1)
            kept, open_ = trust * (colour / known.clamp(min=_LEAST)), 1 - trust
        fill = kept + open_ * above
        if colour.shape[-1] <= _SMOOTHED:
            for _ in range(_SWEEPS):
                fill = kept + open_ * smooth(fill)
    return fill


def smooth(x: Tensor) -> Tensor:
    """3×3 mean; at the border, of the pixels inside."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _twice(x: Tensor) -> Tensor:
    """One pixel as 2×2: TensorFlow's own TFLite interpreter refuses to divide a single one."""
    x = torch.cat([x, x], dim=2)
    return torch.cat([x, x], dim=3)
