"""Attention that is computed once, from 3×3 patches, and then mixes patches of every resolution."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.deepfill.attention import SHARPNESS, by_columns
from rethined_export.models.hifill.config import CELL

#: Of a patch's norm.
FLOOR = 1e-8


class ContextualAttention(nn.Module):
    """What each position takes of each, and the maps that are mixed by it."""

    def forward(
        self, x: Tensor, hole: Tensor, second: Tensor, first: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights, and three maps mixed by them.

        Args:
            x: ``[B, C, 2g, 2g]``, of which every second pixel is a position that attends.
            hole: of the image, ``[B, 1, 16·g, 16·g]``, 1 = hole, 0 = known.
            second, first: ``[B, C', 4g, 4g]`` and ``[B, C'', 8g, 8g]``.

        Returns:
            ``[B, N, N]``, N = g·g, row by row, those that are painted along the rows; and what
            became of the three maps. Patches of x are 3×3 at every second pixel; of the others
            twice as large as a position's part, and around it.
        """
        weights = self.weights(x, hole)
        mixed = pasted(weights, x, patch=3, step=2, before=0)
        return weights, mixed, _transferred(weights, second), _transferred(weights, first)

    def weights(self, x: Tensor, hole: Tensor) -> Tensor:
        """``[B, N, N]``; rows sum to one or, where patches with a hole won, to less."""
        patches = F.unfold(x[:, :, ::2, ::2], 3, padding=1)
        norms = patches.norm(dim=1, keepdim=True).clamp_min(FLOOR)
        scores = patches.transpose(1, 2) @ (patches / norms)
        grid = x.shape[2] // 2
        scores = by_columns(_fused(by_columns(_fused(scores), grid, grid)), grid, grid)
        known = usable(hole).flatten(1)[:, None]
        return torch.softmax(SHARPNESS * scores * known, dim=2) * known


def usable(hole: Tensor) -> Tensor:
    """1 for positions without a pixel of hole in their own cell or those around it, else 0.

    Args:
        hole: ``[B, 1, 16·g, 16·g]``, 1 = hole.

    Returns:
        ``[B, 1, g, g]``.
    """
    return 1 - F.max_pool2d(F.max_pool2d(hole, CELL), 3, stride=1, padding=1)


def _fused(scores: Tensor) -> Tensor:
    """Each with those of the neighbours of both, as they are numbered."""
    padded = F.pad(scores, (1, 1, 1, 1))
    return padded[:, :-2, :-2] + scores + padded[:, 2:, 2:]


def _transferred(weights: Tensor, x: Tensor) -> Tensor:
    step = x.shape[2] // round(weights.shape[1] ** 0.5)
    return pasted(weights, x, patch=2 * step, step=step, before=step // 2)


def pasted(weights: Tensor, x: Tensor, patch: int, step: int, before: int) -> Tensor:
    """Patches mixed, laid where they are painted, and added where they overlap.

    Args:
        weights: ``[B, N, N]``, those that are painted along the rows.
        x: ``[B, C, h, w]``, zero around.
        patch: side of a patch. step: from one patch to the next; x holds N steps.
        before: pixels of a patch that lie before its step.
    """
    after = patch - step - before
    padded = F.pad(x, (before, after, before, after))
    patches = F.unfold(padded, patch, stride=step) @ weights.transpose(1, 2)
    height, width = x.shape[2:]
    size = (padded.shape[2], padded.shape[3])
    summed = F.fold(patches, size, patch, stride=step)
    return summed[:, :, before : before + height, before : before + width]
