"""Token mixing with a dense attention map, kept for comparison with the gather."""

import torch
from torch import Tensor
from torch.nn import functional as F

from rethined_export.rewrite.tokens import unfold_grid


def dense_mix(x: Tensor, attention: Tensor, patch: int) -> Tensor:
    """Twin of ``fold(A @ unfold(x))`` in rank 4.

    Args:
        x: ``[1, C, h·patch, w·patch]``, patches without overlap.
        attention: ``[N, N]``, N = h·w, queries along the rows.
    """
    values = x if patch == 1 else unfold_grid(x, patch)
    # Plain matrices: with leading ones, TFLite's converter writes a product that does not load.
    mixed = torch.matmul(values.reshape(values.shape[1], -1), attention.transpose(0, 1))
    mixed = mixed.reshape(values.shape)
    return mixed if patch == 1 else F.pixel_shuffle(mixed, patch)
