"""Token mixing with a dense attention map, kept for comparison with the gather."""

import torch
from torch import Tensor
from torch.nn import functional as F

from rethined_export.rewrite.tokens import unfold_grid


def dense_mix(x: Tensor, attention: Tensor, patch: int, grid: int) -> Tensor:
    """Twin of ``fold(A @ unfold(x))`` in rank 4.

    Args:
        x: ``[1, 3, patch·grid, patch·grid]``.
        attention: ``[1, 1, N, N]``, queries along the rows.
    """
    size = 3 * patch * patch
    values = unfold_grid(x, patch).reshape(size, grid * grid)
    # Plain matrices: with leading ones, TFLite's converter writes a product that does not load.
    mixed = torch.matmul(values, attention[0, 0].transpose(0, 1))
    return F.pixel_shuffle(mixed.reshape(1, size, grid, grid), patch)
