"""Contextual attention as products of single pixels, and tables of them moved along diagonals.

Written as it is thought of, it correlates a map with all its own 3×3 patches and mixes 4×4 ones:
two convolutions whose kernels are known at run time only, or products of nine and sixteen times as
many numbers as the map has channels. But what a patch adds to another's score is the product of two
pixels that lie equally far from both. So one product of all pixels with all others holds every
term, and the sum over a patch is three entries on a diagonal of that table along each side. A pixel
painted from patches that overlap is a sum on diagonals too: of the weights of the patches that
cover it, so that once more a pixel is mixed from single pixels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.deepfill.attention import (
    FLOOR,
    NEVER,
    SHARPNESS,
    ContextualAttention,
    reduced_places,
)
from rethined_export.models.deepfill.config import POSITION, STRIDE, AttentionConfig
from rethined_export.rewrite.runs import runs_of, take_runs


class DiagonalMatch(nn.Module):
    """What each position takes of each, and maps mixed by that, for maps of one size.

    Tables of all positions with all others are ``[rows, columns, rows, columns]``, those that are
    painted first, those that are copied from last.

    Args:
        config: of attention. rows, columns: of positions.
        floor: of a patch's norm, or of a square under its root.
    """

    ones: Tensor

    def __init__(
        self, config: AttentionConfig, rows: int, columns: int, floor: float = FLOOR
    ) -> None:
        super().__init__()
        self.config, self.rows, self.columns, self.floor = config, rows, columns, floor
        self.register_buffer("ones", torch.ones(1, 1, 3, 3))

    def weights(self, x: Tensor, known: Tensor) -> Tensor:
        """What each position takes of each.

        Args:
            x: ``[1, C, rows, columns]``. known: ``[1, 1, rows, columns]``, 1 = may be copied from.

        Returns:
            ``[N, N]``, positions numbered column by column where they were fused, else row by row.
        """
        table = self._scores(x)
        if self.config.fuse:
            count = self.rows * self.columns
            table = with_neighbours(table.reshape(1, count, 1, count), 1)
            # From here on positions are numbered column by column.
            table = self.turned(table).reshape(1, count, 1, count)
            table = with_neighbours(table, 1)
        valid = self._listed(known).reshape(1, -1)
        logits = table.reshape(valid.shape[1], -1) * valid
        if self.config.excludes:
            logits = logits + NEVER * (1 - valid)
        return torch.softmax(logits, dim=1) * valid

    def turned(self, table: Tensor) -> Tensor:
        """Of positions numbered row by row, one of those numbered column by column."""
        table = table.reshape(self.rows, self.columns, self.rows, self.columns)
        return table.permute(1, 0, 3, 2)

    def _listed(self, x: Tensor) -> Tensor:
        """``[1, C, rows, columns]`` → ``[N, C]``, as positions are numbered after fusing."""
        if self.config.fuse:
            x = x.reshape(-1, self.rows, self.columns).transpose(1, 2)
        return x.reshape(-1, self.rows * self.columns).transpose(0, 1)

    def _unlisted(self, listed: Tensor) -> Tensor:
        """``[N, C]`` → ``[C, rows, columns]``."""
        planes = listed.transpose(0, 1)
        if self.config.fuse:
            return planes.reshape(-1, self.columns, self.rows).transpose(1, 2)
        return planes.reshape(-1, self.rows, self.columns)

    def _scores(self, x: Tensor) -> Tensor:
        """Sharpened, over the norm of the patch that is copied from."""
        pixels = x.reshape(x.shape[1], -1)
        table = torch.matmul(pixels.transpose(0, 1), pixels)
        table = table.reshape(self.rows, self.columns, self.rows, self.columns)
        table = with_neighbours(with_neighbours(table, 1), 0)
        squares = F.conv2d(x.square().sum(1, keepdim=True), self.ones, padding=1)
        if self.config.floor_inside:
            norms = torch.sqrt(squares + 9 * x.shape[1] * self.floor)
        else:
            norms = torch.sqrt(squares).clamp_min(self.floor)
        return table / (norms / SHARPNESS)

    def pasted(self, x: Tensor, weights: Tensor, covers: tuple[int, int] = (-1, 1)) -> Tensor:
        """The sum of the patches over each pixel of a map of two pixels a position.

        Args:
            x: ``[1, C, 2·rows, 2·columns]``. weights: as of :meth:`weights`.
            covers: whose patch covers a position's even and odd rows and columns beside its own:
                -1 that of the position before, 1 of the one behind, 0 none.
        """
        sides = (self.columns, self.rows) if self.config.fuse else (self.rows, self.columns)
        vertical = 1 if self.config.fuse else 0
        table = weights.reshape(*sides, *sides)
        lines = []
        for down, above in enumerate(covers):
            covered = _covered(table, vertical, above)
            pixels = []
            for right, before in enumerate(covers):
                mix = _covered(covered, 1 - vertical, before)
                colours = self._listed(x[:, :, down::2, right::2])
                mixed = torch.matmul(mix.reshape(len(colours), -1), colours)
                pixels.append(self._unlisted(mixed))
            lines.append(torch.stack(pixels, dim=3).reshape(-1, self.rows, 2 * self.columns))
        return torch.stack(lines, dim=2).reshape(1, -1, 2 * self.rows, 2 * self.columns)


class DiagonalAttention(nn.Module):
    """Twin of :class:`~rethined_export.models.deepfill.ContextualAttention` for maps of one size.

    Args:
        plain: it is not changed.
        height, width: of the image.

    Raises:
        ValueError: the constant of the fusing step is no identity matrix.
    """

    share: Tensor

    def __init__(self, plain: ContextualAttention, height: int, width: int) -> None:
        super().__init__()
        kernel = plain.get_buffer(plain.kernel_name)
        if plain.config.fuse and not torch.equal(kernel[0, 0], torch.eye(3)):
            raise ValueError(f"{plain.kernel_name} is not the 3×3 identity matrix")
        self.match = DiagonalMatch(plain.config, height // POSITION, width // POSITION)
        sides, corners = (height, width), plain.config.align_corners
        self.halves = [_runs(side // STRIDE, 2, corners) for side in sides]
        self.eighths = [_runs(side, POSITION, corners) for side in sides]
        self.register_buffer("share", self._share())

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``[1, C, height/4, width/4]`` and ``[1, 1, height, width]`` → like x."""
        hole = F.max_pool2d(_taken(mask, self.eighths), 3, stride=1, padding=1)
        weights = self.match.weights(_taken(x, self.halves), 1 - hole)
        # Even rows of a position are covered by its own patch and the one above, odd rows by its
        # own and the one below; columns alike.
        return self.match.pasted(x, weights) * self.share

    def _share(self) -> Tensor:
        """One over what the sum of patches is divided by."""
        if not self.match.config.counts_overlap:
            return torch.tensor(0.25)
        sides = (self.match.rows, self.match.columns)
        down, right = (torch.full((2 * side,), 0.5) for side in sides)
        for line in (down, right):
            line[[0, -1]] = 1
        return torch.outer(down, right)[None, None]


def _covered(table: Tensor, axis: int, neighbour: int) -> Tensor:
    return table + beside(table, axis, neighbour) if neighbour else table


def beside(table: Tensor, axis: int, by: int) -> Tensor:
    """What stands one place further on (1) or back (-1) on both sides; zeros past the border.

    Args:
        table: ``[rows, columns, rows, columns]``.
        axis: 0 moves along the rows of both sides, 1 along the columns.
    """
    pads = [0] * 8
    for side in (axis, axis + 2):
        table = table.narrow(side, max(by, 0), table.shape[side] - 1)
        pads[2 * (3 - side) + max(by, 0)] = 1
    return F.pad(table, pads)


def with_neighbours(table: Tensor, axis: int) -> Tensor:
    """The sum of the places before, at and behind each, as of :func:`beside`."""
    return table + beside(table, axis, -1) + beside(table, axis, 1)


def _runs(side: int, step: int, align_corners: bool) -> tuple[slice, ...]:
    return runs_of(reduced_places(side, step, align_corners).tolist())


def _taken(x: Tensor, runs: list[tuple[slice, ...]]) -> Tensor:
    down, right = runs
    return take_runs(take_runs(x, 2, down), 3, right)
