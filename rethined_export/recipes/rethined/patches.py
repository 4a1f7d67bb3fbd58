"""Attention upscaling of single patches: what the dense pipeline does to a hole token, and no more.

A filled patch is ``bicubic(x̂_LR) + Σ_k w_k · (ctx − gauss(ctx))`` of its k source patches, where
``ctx`` is the photo with its hole filled by ``bicubic(x̂_LR)``. Enlarging and blurring are separable
and linear, so each is one small matrix along the rows and one along the columns.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined.config import GRID, PATCH
from rethined_export.models.rethined.filters import BLUR_SIDE, gaussian_taps
from rethined_export.rewrite.bicubic import bicubic_taps

#: Pixels around a source patch that the blur reads.
HALO = BLUR_SIDE // 2
#: Low-resolution pixels around a patch that enlarging it and its halo reads, at any scale ≥ 2.
LOW_HALO = 3
#: Side of the low-resolution window of a patch.
LOW_WINDOW = PATCH + 2 * LOW_HALO
#: Where a token lies along one side of the grid.
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


class BothSides(nn.Module):
    """One matrix along the rows and along the columns of each plane: ``A · x · Aᵀ``.

    Windows are ``[M, rows, channels, columns]``: filtering along the columns is then a product with
    one matrix, and along the rows a product for each window, without moving a channel.

    Args:
        matrix: A, ``[p, e]``.
    """

    matrix: Tensor
    matrix_t: Tensor

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        # As it is used each time: a converter does not fold a transpose of a constant.
        self.register_buffer("matrix", matrix.float())
        self.register_buffer("matrix_t", matrix.float().T.contiguous())

    def forward(self, windows: Tensor) -> Tensor:
        """``[M, e, 3, e]`` → ``[M, p, 3, p]``."""
        size, window = self.matrix.shape
        tall = torch.matmul(self.matrix, windows.reshape(-1, window, 3 * window))
        return torch.matmul(tall.reshape(-1, size, 3, window), self.matrix_t)


class SourceWindows(nn.Module):
    """What source patches are made of: the photo, its hole filled with x̂_LR enlarged.

    Args:
        scale: s, at least 2.
    """

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.enlarge = BothSides(enlarging(scale))

    def forward(self, photo: Tensor, holes: Tensor, low: Tensor) -> Tensor:
        """``[M, e, 3, e]``, ``[M, e, 1, e]`` and ``[M, 14, 3, 14]`` → ``[M, e, 3, e]``."""
        return photo * (1 - holes) + holes * self.enlarge(low)


class BorderBlur(nn.Module):
    """The blur of patches whose windows may hold anything beyond the image's border.

    Each window has the matrices of its place in the image: first, inside or last along each side.

    Args:
        size: p, side of a patch. grid: tokens along a side of the image.
    """

    blur: Tensor
    edges: Tensor

    def __init__(self, size: int, grid: int = GRID) -> None:
        super().__init__()
        self.size, self.window = size, size + 2 * HALO
        self.register_buffer("blur", blurring(size).float().reshape(3, -1))
        place = torch.full((grid,), float(INSIDE))
        place[0], place[-1] = FIRST, LAST
        self.register_buffer("edges", torch.cartesian_prod(place, place))

    def forward(self, windows: Tensor, tokens: Tensor) -> Tensor:
        """``[M, p + 6, 3, p + 6]`` around int32 ``[M]`` tokens → ``[M, p, 3, p]``."""
        size, window = self.size, self.window
        edges = F.embedding(tokens, self.edges).to(torch.int32)
        rows = F.embedding(edges[:, 0], self.blur).reshape(-1, size, window)
        columns = F.embedding(edges[:, 1], self.blur).reshape(-1, size, window)
        tall = torch.matmul(rows, windows.reshape(-1, window, 3 * window))
        low = torch.matmul(tall.reshape(-1, 3 * size, window), columns.transpose(1, 2))
        return low.reshape(-1, size, 3, size)


class PatchMix(nn.Module):
    """Fills patches: x̂_LR enlarged, plus the high frequencies of their sources.

    Args:
        scale: s, at least 2.
        top_k: source patches mixed for each.
    """

    def __init__(self, scale: int, top_k: int = 1) -> None:
        super().__init__()
        self.size, self.top_k = PATCH * scale, top_k
        self.enlarge = BothSides(enlarging(scale)[HALO:-HALO])

    def forward(self, high: Tensor, low_targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Fill M patches of side p = 8·s.

        Args:
            high: of k sources a patch, together ``[M·k, p, 3, p]``.
            low_targets: x̂_LR around each patch to fill, borders repeated ``[M, 14, 3, 14]``.
            weights: of the sources, ``[M, k]``; None means k = 1.

        Returns:
            ``[M, p, 3, p]``.
        """
        base = self.enlarge(low_targets)
        if weights is None:
            return base + high
        size = self.size
        ranks = high.reshape(-1, self.top_k, size * 3 * size)
        for rank in range(self.top_k):
            share = weights[:, rank].reshape(-1, 1, 1, 1)
            base = base + share * ranks[:, rank].reshape(-1, size, 3, size)
        return base


class PatchStage(nn.Module):
    """The patch program of a split pair: its caller fills and reflects the windows.

    Args:
        scale: s, at least 2.
        top_k: source patches mixed for each.
    """

    def __init__(self, scale: int, top_k: int = 1) -> None:
        super().__init__()
        self.blur = BothSides(blurring(PATCH * scale)[INSIDE])
        self.mix = PatchMix(scale, top_k)

    def forward(
        self, sources: Tensor, low_targets: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Fill M patches of side p = 8·s from k sources each; e = p + 6.

        Args:
            sources: photo around each source patch, its hole filled ``[M·k, e, 3, e]``, the k of a
                patch together; reflected at the image's border.
            low_targets, weights: as for :class:`PatchMix`.

        Returns:
            ``[M, p, 3, p]``.
        """
        return self.mix(inner(sources) - self.blur(sources), low_targets, weights)


def inner(windows: Tensor) -> Tensor:
    """Windows without their halo: ``[M, p + 6, C, p + 6]`` → ``[M, p, C, p]``."""
    return windows[:, HALO:-HALO, :, HALO:-HALO]
