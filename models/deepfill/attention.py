"""Contextual attention: what the hole's surroundings look like is painted from patches of them.

Positions are every second pixel of a map. Each is compared, by the 3×3 positions around it, with
all others, and becomes a mix of the 4×4 patches around those that lie outside the hole.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.deepfill.config import POSITION, AttentionConfig

#: Of the scores, before the softmax.
SHARPNESS = 10.0
#: Of a patch's norm.
FLOOR = 1e-4
#: What stands for −∞: its exponential is 0 in float32 beside any score that can occur, and where
#: every patch is excluded nothing becomes NaN.
NEVER = -1e4


class ContextualAttention(nn.Module):
    """Twin of the ports' modules; one image or several.

    Args:
        fuse_kernel: name of the buffer of the fusing step's constant; empty: not in state dicts.
    """

    kernel: Tensor

    def __init__(self, config: AttentionConfig, fuse_kernel: str = "") -> None:
        super().__init__()
        self.config, self.kernel_name = config, fuse_kernel or "kernel"
        diagonal = torch.eye(3).reshape(1, 1, 3, 3)
        self.register_buffer(self.kernel_name, diagonal, persistent=bool(fuse_kernel))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Paint every position from patches outside the hole; zeros where there are none.

        Args:
            x: ``[B, C, h, w]``, even sides.
            mask: of the image, ``[B, 1, 4·h, 4·w]``, 1 = hole, 0 = known.

        Returns:
            ``[B, C, h, w]``.
        """
        size = (x.shape[2], x.shape[3])
        rows, columns = size[0] // 2, size[1] // 2
        scores = self._scores(self._reduced(x, 2))
        if self.config.fuse:
            scores = self._fused(scores, rows, columns)
        valid = self._valid(mask)
        logits = SHARPNESS * scores * valid
        if self.config.excludes:
            logits = logits + NEVER * (1 - valid)
        weights = torch.softmax(logits, dim=1) * valid
        patches = F.unfold(x, 4, padding=1, stride=2)
        pasted = F.fold(patches @ weights, size, 4, padding=1, stride=2)
        if not self.config.counts_overlap:
            return pasted / 4
        ones = torch.ones(1, 16, rows * columns, dtype=x.dtype)
        return pasted / F.fold(ones, size, 4, padding=1, stride=2)

    def _reduced(self, x: Tensor, step: int) -> Tensor:
        """By a whole number, without filtering: ``[B, C, h, w]`` → ``[B, C, h/step, w/step]``."""
        for axis in (2, 3):
            places = reduced_places(x.shape[axis], step, self.config.align_corners)
            x = x.index_select(axis, places)
        return x

    def _scores(self, x: Tensor) -> Tensor:
        """Likeness of each position's patch, normalised, to each: ``[B, patches, positions]``."""
        patches = F.unfold(x, 3, padding=1)
        squares = patches.square().sum(1, keepdim=True)
        if self.config.floor_inside:
            norms = torch.sqrt(squares + patches.shape[1] * FLOOR)
        else:
            norms = torch.sqrt(squares).clamp_min(FLOOR)
        return (patches / norms).transpose(1, 2) @ patches

    def _fused(self, scores: Tensor, rows: int, columns: int) -> Tensor:
        """Add the scores of the neighbours of both, row by row and then column by column.

        A row's end is taken for a neighbour of the next one's start, as by the authors' code.
        """
        kernel = self.get_buffer(self.kernel_name)
        scores = F.conv2d(scores[:, None], kernel, padding=1)
        scores = F.conv2d(by_columns(scores, rows, columns), kernel, padding=1)
        return by_columns(scores, columns, rows)[:, 0]

    def _valid(self, mask: Tensor) -> Tensor:
        """1 for patches without a pixel of hole, else 0: ``[B, patches, 1]``."""
        hole = self._reduced(mask, POSITION)
        return 1 - F.max_pool2d(hole, 3, stride=1, padding=1).flatten(1)[:, :, None]


def by_columns(scores: Tensor, rows: int, columns: int) -> Tensor:
    """Number both sides of a table column by column where they were row by row."""
    table = scores.reshape(-1, rows, columns, rows, columns).permute(0, 2, 1, 4, 3)
    return table.reshape(scores.shape)


def reduced_places(side: int, step: int, align_corners: bool) -> Tensor:
    """Which of a side's pixels stay when it is reduced by a whole number, int64 ``[side/step]``."""
    count = side // step
    if not align_corners:
        return torch.arange(count) * step
    # As TensorFlow's positions are made: an exact half falls as it does in float32.
    return torch.floor(torch.linspace(0, side - 1, count) + 0.5).long()
