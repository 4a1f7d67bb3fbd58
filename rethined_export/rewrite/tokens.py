"""Projections and flags of tokens, computed on the image instead of on unfolded patches."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined.config import GRID, PATCH, PATCH_SIZE, TOKENS


class TokenProjection(nn.Module):
    """Twin of ``linear(unfold(F) ⊕ features)``: a patch-sized strided convolution plus a 1×1.

    Args:
        weight: of a linear layer without bias, ``[size, 192 + features]``; there may be none.
    """

    context: nn.Conv2d | None

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        weight = weight.detach()
        size, inputs = weight.shape
        self.patch = nn.Conv2d(3, size, PATCH, stride=PATCH, bias=False)
        self.patch.weight.data = weight[:, :PATCH_SIZE].reshape(size, 3, PATCH, PATCH).clone()
        self.context = None
        if inputs > PATCH_SIZE:
            self.context = nn.Conv2d(inputs - PATCH_SIZE, size, 1, bias=False)
            self.context.weight.data = weight[:, PATCH_SIZE:, None, None].clone()

    def forward(self, high: Tensor, context: Tensor | None = None) -> Tensor:
        """``[1, 3, 512, 512]`` and ``[1, C, 64, 64]`` → ``[1, size, 64, 64]``."""
        if self.context is None:
            return self.patch(high)
        return self.patch(high) + self.context(context)


def unfold_grid(x: Tensor, patch: int) -> Tensor:
    """Twin of ``F.pixel_unshuffle`` in rank 4: ``[1, C, H, W]`` → ``[1, C·p², H/p, W/p]``.

    The plain operator leaves torch as one rank-6 transpose, which no GPU delegate takes.
    """
    _, channels, height, width = x.shape
    rows, columns = height // patch, width // patch
    x = x.reshape(channels, rows, patch, width).transpose(1, 2)
    x = x.reshape(channels, patch, rows * columns, patch).transpose(2, 3)
    return x.reshape(1, channels * patch * patch, rows, columns)


def token_places(grid: int) -> Tensor:
    """Row and column of each token in the grid, ``[grid², 2]``, for a look-up.

    Floats: Core ML divides integers as floats, wrong in fp16 beyond 2048, and TFLite refuses to
    look integers up.
    """
    token = torch.arange(grid * grid)
    return torch.stack([token // grid, token % grid], dim=1).float()


def spread_flags(hole: Tensor, patch: int) -> Tensor:
    """Token flags ``[1, 1, g, g]`` over the pixels of their patches, ``[1, 1, g·p, g·p]``."""
    return F.interpolate(hole, scale_factor=float(patch), mode="nearest")


def forbid_self(hole: Tensor, penalty: float) -> Tensor:
    """``penalty · diag(hole)`` without an identity matrix: ``[1, 1, 1, N]`` → ``[1, 1, N, N]``.

    A column followed by N zeros, read in rows of N, puts each entry one place further right.
    """
    count = hole.shape[3]
    column = F.pad((hole * penalty).reshape(count, 1), (0, count))
    return column.reshape(-1)[: count * count].reshape(1, 1, count, count)


class Strongest(nn.Module):
    """The k best keys of each query.

    One key is found by row of the token grid: the best of each row, the first best row, the first
    best token in it. Runtimes take a maximum many numbers at a time, and its place one by one; and
    top-k leaves the Neural Engine and most GPU delegates.

    Args:
        top_k: k. queries: the most that are asked at once. keys: N.
    """

    first_rows: Tensor

    def __init__(self, top_k: int, queries: int, keys: int = TOKENS) -> None:
        super().__init__()
        self.top_k, self.span = top_k, math.gcd(keys, GRID)
        if top_k == 1:
            first_rows = torch.arange(queries, dtype=torch.int32) * (keys // self.span)
            self.register_buffer("first_rows", first_rows)

    def forward(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Choose.

        Args:
            scores: ``[1, 1, Q, N]``.

        Returns:
            The k best scores and their int32 indices, each ``[1, Q, k]``.
        """
        count = scores.shape[2]
        if self.top_k == 1:
            values, indices = self._best(scores.reshape(count, -1, self.span))
        else:
            values, indices = torch.topk(scores, self.top_k, dim=3)
        return values.reshape(1, count, -1), indices.to(torch.int32).reshape(1, count, -1)

    def _best(self, table: Tensor) -> tuple[Tensor, Tensor]:
        """Largest of each query's ``[Q, rows, span]`` and where it first stands, both ``[Q]``."""
        best_of_rows = table.amax(2)
        row = best_of_rows.argmax(1).to(torch.int32)
        places = self.first_rows[: len(table)] + row
        column = F.embedding(places, table.reshape(-1, self.span)).argmax(1).to(torch.int32)
        return best_of_rows.amax(1), row * self.span + column
