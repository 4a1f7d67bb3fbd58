"""Maps less their mean over their deviation, summed in steps that stay small and exact.

A deviation over a whole map sums tens of thousands of squares: in fp16 that is beyond the range,
and in fp32 runtimes that add one after the other lose digits, which a small deviation magnifies.
Here values are first scaled by what their sum is divided by, and rows are summed before columns.
"""

import torch
from torch import Tensor


def map_mean(x: Tensor) -> Tensor:
    """Twin of ``x.mean((2, 3), keepdim=True)``: ``[B, C, h, w]`` → ``[B, C, 1, 1]``."""
    return x.mean(3, keepdim=True).mean(2, keepdim=True)


def standardised(x: Tensor, epsilon: float) -> Tensor:
    """Twin of ``(x - mean) / (std + epsilon)``, std that of a sample (over h·w - 1).

    A tiny epsilon, which only keeps a constant map from being 0/0, is the least that is divided by
    instead: simplifiers take a sum with it for its other term, and the map is NaN after all. Where
    the deviation is much larger, both are the same number.

    Args:
        x: ``[B, C, h, w]``, two values or more a map.
    """
    freedom = x.shape[2] * x.shape[3] - 1
    centred = x - map_mean(x)
    scaled = centred * freedom**-0.5
    deviation = torch.sqrt((scaled * scaled).sum(3, keepdim=True).sum(2, keepdim=True))
    # A quotient, not a product with the inverse: Core ML's inverse adds 1e-4 to what it inverts.
    return centred / torch.clamp(deviation, min=epsilon)


def instance_norm(x: Tensor, epsilon: float) -> Tensor:
    """Twin of ``F.instance_norm`` without parameters: over ``sqrt(variance + epsilon)``.

    Args:
        x: ``[B, C, h, w]``. epsilon: as much as a variance that is told from rounding.
    """
    centred = x - map_mean(x)
    return centred / torch.sqrt(map_mean(centred * centred) + epsilon)
