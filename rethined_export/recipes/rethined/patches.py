"""Attention upscaling of single patches: what the dense pipeline does to a hole token, and no more.

A filled patch is ``up(x̂_LR) + Σ_k w_k · (y − up(x̂_LR))`` of its k source patches, which are known.
Enlarging is linear: low windows are subtracted from each other, and only what is left is enlarged.
"""

import torch
from torch import Tensor, nn

from rethined_export.models.rethined.config import PATCH
from rethined_export.rewrite.bicubic import bicubic_taps

#: Low-resolution pixels around a patch that enlarging it reads, at any scale ≥ 2.
LOW_HALO = 2
#: Side of the low-resolution window of a patch.
LOW_WINDOW = PATCH + 2 * LOW_HALO


def enlarging(scale: int) -> Tensor:
    """Bicubic enlargement of a window to its patch as a matrix ``[8·s, 12]``, float64.

    Column c is the patch's low-resolution pixel c − 2.
    """
    taps = bicubic_taps(scale)
    matrix = torch.zeros(PATCH * scale, LOW_WINDOW, dtype=torch.float64)
    for pixel, row in enumerate(matrix):
        first = pixel // scale
        row[first : first + taps.shape[1]] = taps[pixel % scale]
    return matrix


class Enlarge(nn.Module):
    """Windows of the low image to patches at full resolution: one matrix A along each side.

    Windows are ``[M, rows, channels, columns]``: filtering along the columns is then a product with
    one matrix, and along the rows a product for each window, without moving a channel.

    Args:
        scale: s, at least 2.
    """

    matrix: Tensor
    matrix_t: Tensor

    def __init__(self, scale: int) -> None:
        super().__init__()
        matrix = enlarging(scale).float()
        # As it is used each time: a converter does not fold a transpose of a constant.
        self.register_buffer("matrix", matrix)
        self.register_buffer("matrix_t", matrix.T.contiguous())

    def forward(self, windows: Tensor) -> Tensor:
        """``[M, 12, 3, 12]`` → ``A · x · Aᵀ`` of each plane, ``[M, p, 3, p]``."""
        size, window = self.matrix.shape
        tall = torch.matmul(self.matrix, windows.reshape(-1, window, 3 * window))
        return torch.matmul(tall.reshape(-1, size, 3, window), self.matrix_t)


class PatchStage(nn.Module):
    """Fills patches from their sources.

    Args:
        scale: s, at least 2.
        top_k: source patches mixed for each.
    """

    def __init__(self, scale: int, top_k: int = 1) -> None:
        super().__init__()
        self.top_k = top_k
        self.enlarge = Enlarge(scale)

    def forward(
        self,
        sources: Tensor,
        low_sources: Tensor,
        low_targets: Tensor,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Fill M patches of side p = 8·s.

        Args:
            sources: photo, k source patches a patch, together ``[M·k, p, 3, p]``.
            low_sources: x̂_LR around each of them, borders repeated ``[M·k, 12, 3, 12]``.
            low_targets: x̂_LR around each patch to fill ``[M, 12, 3, 12]``.
            weights: of the sources, ``[M, k]``; None means k = 1.

        Returns:
            ``[M, p, 3, p]``.
        """
        copied, below = self._mixed(sources, weights), self._mixed(low_sources, weights)
        return copied + self.enlarge(low_targets - below)

    def _mixed(self, patches: Tensor, weights: Tensor | None) -> Tensor:
        """``Σ_k w_k · patches``, ``[M·k, e, 3, e]`` → ``[M, e, 3, e]``."""
        if weights is None:
            return patches
        side = patches.shape[1]
        ranks = patches.reshape(-1, self.top_k, side * 3 * side)
        mixed = None
        for rank in range(self.top_k):
            share = weights[:, rank].reshape(-1, 1, 1, 1)
            part = share * ranks[:, rank].reshape(-1, side, 3, side)
            mixed = part if mixed is None else mixed + part
        assert mixed is not None
        return mixed
