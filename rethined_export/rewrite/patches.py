"""Attention upscaling of single patches: what the dense pipeline does to a hole token, and no more.

A filled patch is ``bicubic(x̂_LR) + Σ_k w_k · (ctx − gauss(ctx))`` of its k source patches, where
``ctx`` is the photo with its hole filled by ``bicubic(x̂_LR)``. Enlarging and blurring are separable
and linear, so each is one small matrix along the rows and one along the columns.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined.config import PATCH
from rethined_export.models.rethined.filters import BLUR_SIDE, gaussian_taps
from rethined_export.rewrite.bicubic import bicubic_taps

#: Pixels around a source patch that the blur reads.
HALO = BLUR_SIDE // 2
#: Low-resolution pixels around a patch that enlarging it and its halo reads, at any scale ≥ 2.
LOW_HALO = 3
#: Side of the low-resolution window of a patch.
LOW_WINDOW = PATCH + 2 * LOW_HALO
#: Where a token lies along one side of the grid: `edges` of the stage.
FIRST, INSIDE, LAST = 0, 1, 2


def enlarging(scale: int) -> Tensor:
    """Bicubic enlargement of a window as a matrix ``[8·s + 6, 14]``, float64.

    Row r is the full-resolution pixel r − 3 of the patch, column c its low-resolution pixel c − 3.
    """
    taps = bicubic_taps(scale)
    pixels = torch.arange(-HALO, PATCH * scale + HALO)
    matrix = torch.zeros(len(pixels), LOW_WINDOW, dtype=torch.float64)
    for row, pixel in enumerate(pixels.tolist()):
        centre, phase = pixel // scale + LOW_HALO, pixel % scale
        for offset, tap in enumerate(taps[phase].tolist()):
            if tap:
                matrix[row, centre - 2 + offset] += tap
    return matrix


def blurring(size: int) -> Tensor:
    """The blur along one side as a matrix ``[3, size, size + 6]``, float64.

    First and last token reflect at the border of the image: what lies beyond it has no weight.
    """
    matrix = torch.zeros(3, size, size + 2 * HALO, dtype=torch.float64)
    for row in range(size):
        for offset, tap in enumerate(gaussian_taps().tolist()):
            column = row + offset
            matrix[INSIDE, row, column] += tap
            first, last = HALO, HALO + size - 1
            matrix[FIRST, row, first + abs(column - first)] += tap
            matrix[LAST, row, last - abs(last - column)] += tap
    return matrix


class SourceWindows(nn.Module):
    """What source patches are made of: the photo, its hole filled with x̂_LR enlarged.

    Args:
        scale: s, at least 2.
    """

    up: Tensor
    up_t: Tensor

    def __init__(self, scale: int) -> None:
        super().__init__()
        # Each matrix as it is used: a converter does not fold a transpose of a constant.
        self.register_buffer("up", enlarging(scale).float())
        self.register_buffer("up_t", enlarging(scale).float().T.contiguous())

    def forward(self, photo: Tensor, holes: Tensor, low: Tensor) -> Tensor:
        """``[M, e, 3, e]``, ``[M, e, 1, e]`` and ``[M, 14, 3, 14]`` → ``[M, e, 3, e]``."""
        return photo * (1 - holes) + holes * _enlarge(low, self.up, self.up_t)


class PatchStage(nn.Module):
    """Fills patches at full resolution.

    Windows are ``[M, rows, channels, columns]``: filtering along the columns is then a product with
    one matrix, and along the rows a product for each window, without moving a channel.

    Args:
        scale: s, at least 2.
        top_k: source patches mixed for each.
    """

    up: Tensor
    up_t: Tensor
    blur: Tensor
    blur_inside: Tensor
    blur_inside_t: Tensor

    def __init__(self, scale: int, top_k: int = 1) -> None:
        super().__init__()
        self.size, self.top_k = PATCH * scale, top_k
        self.window = self.size + 2 * HALO
        up, blur = enlarging(scale).float()[HALO:-HALO], blurring(self.size).float()
        self.register_buffer("up", up.clone())
        self.register_buffer("up_t", up.T.contiguous())
        self.register_buffer("blur", blur.reshape(3, -1))
        self.register_buffer("blur_inside", blur[INSIDE].clone())
        self.register_buffer("blur_inside_t", blur[INSIDE].T.contiguous())

    def forward(
        self,
        sources: Tensor,
        low_targets: Tensor,
        weights: Tensor | None = None,
        edges: Tensor | None = None,
    ) -> Tensor:
        """Fill M patches of side p = 8·s from k sources each; e = p + 6.

        Args:
            sources: photo around each source patch, its hole filled ``[M·k, e, 3, e]``, the k of a
                patch together; reflected at the image's border.
            low_targets: x̂_LR around each patch to fill, borders repeated ``[M, 14, 3, 14]``.
            weights: of the sources, ``[M, k]``; None means k = 1.
            edges: row and column of each source on the token grid, int32 ``[M·k, 2]``: 0 first,
                1 inside, 2 last. With them sources may hold anything beyond the image's border.

        Returns:
            ``[M, p, 3, p]``.
        """
        high = sources[:, HALO:-HALO, :, HALO:-HALO] - self._blur(sources, edges)
        base = _enlarge(low_targets, self.up, self.up_t)
        if weights is None:
            return base + high
        size = self.size
        ranks = high.reshape(-1, self.top_k, size * 3 * size)
        for rank in range(self.top_k):
            share = weights[:, rank].reshape(-1, 1, 1, 1)
            base = base + share * ranks[:, rank].reshape(-1, size, 3, size)
        return base

    def _blur(self, x: Tensor, edges: Tensor | None) -> Tensor:
        """``V_r · x · V_cᵀ`` of each plane, with the matrices of its place in the image."""
        size, window = self.size, self.window
        if edges is None:
            tall = torch.matmul(self.blur_inside, x.reshape(-1, window, 3 * window))
            return torch.matmul(tall.reshape(-1, size, 3, window), self.blur_inside_t)
        rows = F.embedding(edges[:, 0], self.blur).reshape(-1, size, window)
        columns = F.embedding(edges[:, 1], self.blur).reshape(-1, size, window)
        tall = torch.matmul(rows, x.reshape(-1, window, 3 * window))
        low = torch.matmul(tall.reshape(-1, 3 * size, window), columns.transpose(1, 2))
        return low.reshape(-1, size, 3, size)


def _enlarge(low: Tensor, up: Tensor, up_t: Tensor) -> Tensor:
    """``U · low · Uᵀ`` of each plane, ``[M, 14, 3, 14]`` → ``[M, e, 3, e]``."""
    tall = torch.matmul(up, low.reshape(-1, LOW_WINDOW, 3 * LOW_WINDOW))
    return torch.matmul(tall.reshape(-1, len(up), 3, LOW_WINDOW), up_t)
