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
from rethined_export.models.deepfill.config import POSITION, STRIDE
from rethined_export.rewrite.runs import runs_of, take_runs

#: A share of a mix that is taken for none.
NOTHING = 1e-30


class DiagonalAttention(nn.Module):
    """Twin of :class:`~rethined_export.models.deepfill.ContextualAttention` for maps of one size.

    Tables of all positions with all others are ``[rows, columns, rows, columns]``, those that are
    painted first, those that are copied from last.

    Args:
        plain: it is not changed.
        height, width: of the image.

    Raises:
        ValueError: the constant of the fusing step is no identity matrix.
    """

    ones: Tensor
    share: Tensor

    def __init__(self, plain: ContextualAttention, height: int, width: int) -> None:
        super().__init__()
        self.config = plain.config
        kernel = plain.get_buffer(plain.kernel_name)
        if self.config.fuse and not torch.equal(kernel[0, 0], torch.eye(3)):
            raise ValueError(f"{plain.kernel_name} is not the 3×3 identity matrix")
        self.rows, self.columns = height // POSITION, width // POSITION
        sides, corners = (height, width), self.config.align_corners
        self.halves = [_runs(side // STRIDE, 2, corners) for side in sides]
        self.eighths = [_runs(side, POSITION, corners) for side in sides]
        self.register_buffer("ones", torch.ones(1, 1, 3, 3))
        self.register_buffer("share", self._share())

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``[1, C, height/4, width/4]`` and ``[1, 1, height, width]`` → like x."""
        table = self._scores(_taken(x, self.halves))
        if self.config.fuse:
            count = self.rows * self.columns
            table = with_neighbours(table.reshape(1, count, 1, count), 1)
            # From here on positions are numbered column by column.
            table = table.reshape(self.rows, self.columns, self.rows, self.columns)
            table = table.permute(1, 0, 3, 2).reshape(1, count, 1, count)
            table = with_neighbours(table, 1)
        hole = F.max_pool2d(_taken(mask, self.eighths), 3, stride=1, padding=1)
        return self._pasted(x, self._weights(table, 1 - self._listed(hole))) * self.share

    def _listed(self, x: Tensor) -> Tensor:
        """``[1, C, rows, columns]`` → ``[N, C]``, as positions are numbered after fusing."""
        channels = x.shape[1]
        listed = x.reshape(channels, self.rows, self.columns)
        listed = listed.permute(2, 1, 0) if self.config.fuse else listed.permute(1, 2, 0)
        return listed.reshape(-1, channels)

    def _unlisted(self, listed: Tensor) -> Tensor:
        """``[N, C]`` → ``[C, rows, columns]``."""
        if self.config.fuse:
            return listed.reshape(self.columns, self.rows, -1).permute(2, 1, 0)
        return listed.reshape(self.rows, self.columns, -1).permute(2, 0, 1)

    def _scores(self, x: Tensor) -> Tensor:
        """Sharpened, over the norm of the patch that is copied from."""
        pixels = x.reshape(x.shape[1], -1)
        table = torch.matmul(pixels.transpose(0, 1), pixels)
        table = table.reshape(self.rows, self.columns, self.rows, self.columns)
        table = with_neighbours(with_neighbours(table, 1), 0)
        squares = F.conv2d(x.square().sum(1, keepdim=True), self.ones, padding=1)
        if self.config.floor_inside:
            norms = torch.sqrt(squares + 9 * x.shape[1] * FLOOR)
        else:
            norms = torch.sqrt(squares).clamp_min(FLOOR)
        return table / (norms / SHARPNESS)

    def _weights(self, table: Tensor, valid: Tensor) -> Tensor:
        """What each position takes of each; ``[N, N]``."""
        valid = valid.reshape(1, -1)
        logits = table.reshape(valid.shape[1], -1) * valid
        if self.config.excludes:
            logits = logits + NEVER * (1 - valid)
        # Most shares are next to nothing, and a processor takes a hundred times as long over
        # numbers too small to be normal ones; above 1e-22 this changes none.
        return torch.relu(torch.softmax(logits, dim=1) - NOTHING) * valid

    def _pasted(self, x: Tensor, weights: Tensor) -> Tensor:
        """The sum of the patches over each pixel.

        Even rows of a position are covered by its own patch and the one above, odd rows by its own
        and the one below; columns alike.
        """
        sides = (self.columns, self.rows) if self.config.fuse else (self.rows, self.columns)
        vertical = 1 if self.config.fuse else 0
        table = weights.reshape(*sides, *sides)
        lines = []
        for down, above in enumerate((-1, 1)):
            covered = table + beside(table, vertical, above)
            pixels = []
            for right, before in enumerate((-1, 1)):
                mix = covered + beside(covered, 1 - vertical, before)
                colours = self._listed(x[:, :, down::2, right::2])
                mixed = torch.matmul(mix.reshape(len(colours), -1), colours)
                pixels.append(self._unlisted(mixed))
            lines.append(torch.stack(pixels, dim=3).reshape(-1, self.rows, 2 * self.columns))
        return torch.stack(lines, dim=2).reshape(1, -1, 2 * self.rows, 2 * self.columns)

    def _share(self) -> Tensor:
        """One over what the sum of patches is divided by."""
        if not self.config.counts_overlap:
            return torch.tensor(0.25)
        down, right = (torch.full((2 * side,), 0.5) for side in (self.rows, self.columns))
        for line in (down, right):
            line[[0, -1]] = 1
        return torch.outer(down, right)[None, None]


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
