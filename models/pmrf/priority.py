"""Which unknown places a layer paints: those with many known neighbours and a contour running in.

The slides' equations; what they leave open is assumed, and said where it is.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

#: Of the largest priority, what a place must have to be painted. Assumed; 0 or less is the ordinary
#: partial convolution.
DELTA = 0.5
#: What is known, how many places of each window are, and the priorities → what is known then.
Rule = Callable[[Tensor, Tensor, Tensor], Tensor]
#: Central differences of ``[B, 1, h, w]`` along columns and along rows.
Gradient = Callable[[Tensor], tuple[Tensor, Tensor]]
#: Squared length below which a gradient of a mask is none: others have 1/4 or 1/2.
_NO_EDGE = 0.125


def mask_update(known: Tensor, count: Tensor, priority: Tensor, delta: float = DELTA) -> Tensor:
    """m' = 1 if m = 1 or q ≥ δ·q_max.

    Assumed: q_max is the largest of the sample's unknown places, and no place without a known one
    in its window is painted. So where no contour runs in (q_max = 0), all of the others are.

    Args:
        known: ``[B, 1, h, w]``, 1 or 0. count, priority: like it.

    Returns:
        Like ``known``; at least one place more wherever an unknown one has a known neighbour.
    """
    largest = (priority * (1 - known)).amax((2, 3), keepdim=True)
    painted = torch.logical_and(count > 0, priority >= delta * largest)
    return torch.maximum(known, painted.to(known.dtype))


def central_differences(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of ``[B, 1, h, w]`` along columns and along rows. Assumed: the border is repeated."""
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    down = (x[:, :, 2:, 1:-1] - x[:, :, :-2, 1:-1]) / 2
    return down, (x[:, :, 1:-1, 2:] - x[:, :, 1:-1, :-2]) / 2


def detail(x: Tensor) -> Tensor:
    """X − X↓↑ of ``[B, 1, h, w]``, even sides. Assumed: the mean of 2×2 places, and bilinear."""
    halved = F.avg_pool2d(x, 2)
    return x - F.interpolate(halved, scale_factor=2.0, mode="bilinear", align_corners=False)


def contour(
    mean: Tensor,
    known: Tensor,
    level: int,
    gradient: Gradient = central_differences,
    detail: Callable[[Tensor], Tensor] = detail,
) -> Tensor:
    """ρ: how strongly contours cross the edge of what is known.

    On the lowest level the isophote, |n·∇X⊥|; on others what a map loses when it is halved,
    |n·∇(X − X↓↑)|. Assumed: n is the unit vector along the mask's gradient, none where that is
    none.

    Args:
        mean: of the map over its channels, ``[B, 1, h, w]``. known: like it, 1 or 0.
        level: 0 is the lowest; even sides on others.
    """
    down, across = gradient(detail(mean) if level else mean)
    edge_down, edge_across = gradient(known)
    if level:
        along = edge_down * down + edge_across * across
    else:
        along = edge_down * across - edge_across * down
    length = torch.sqrt((edge_down * edge_down + edge_across * edge_across).clamp_min(_NO_EDGE))
    return along.abs() / length
