"""Attention-guided fusion: the hole's positions take patches of known ones, on every level.

Positions are the places of the lowest level. On a higher one each stands for a patch of 2, 4 or 8
places a side. The slides show the idea only; all of this is assumed.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.pmrf.config import LEVELS, PmrfConfig

#: Of the cosines, before the softmax.
SHARPNESS = 10.0
#: Of a patch's norm.
FLOOR = 1e-4
#: What stands for −∞ beside scores of at most 10; where all are excluded nothing becomes NaN.
NEVER = -1e4


class Attention(nn.Module):
    """Adds to each map what its hole attends."""

    def __init__(self, config: PmrfConfig) -> None:
        super().__init__()
        widths = [config.channels(level) for level in range(LEVELS)]
        self.key = nn.Conv2d(sum(widths), config.key_width, 1)
        self.joins = nn.ModuleList(nn.Conv2d(width, width, 1) for width in widths)

    def forward(self, maps: Sequence[Tensor], hole: Tensor) -> list[Tensor]:
        """Attend.

        Args:
            maps: of each level from the lowest, ``[B, C, h, w]`` to ``[B, C', 8h, 8w]``.
            hole: ``[B, 1, h, w]``, 1 where a position holds any pixel of it, else 0.

        Returns:
            Like ``maps``; known positions as they came.
        """
        weights = self.weights(self.keys(maps), hole)
        found = []
        for level, (x, join) in enumerate(zip(maps, self.joins, strict=True)):
            mixed = join(self.mixed(x, weights, 2**level))
            found.append(x + mixed * F.interpolate(hole, scale_factor=2.0**level, mode="nearest"))
        return found

    def keys(self, maps: Sequence[Tensor]) -> Tensor:
        """What positions are compared by, ``[B, K, h, w]``."""
        small = [
            maps[0],
            *(F.avg_pool2d(x, 2**level, 2**level) for level, x in enumerate(maps) if level),
        ]
        keys: Tensor = self.key(torch.cat(small, dim=1))
        return keys

    def weights(self, keys: Tensor, hole: Tensor) -> Tensor:
        """What each position takes of each, ``[B, N, N]``: a softmax of 3×3 patches' cosines."""
        patches = F.unfold(keys, 3, padding=1)
        patches = patches / patches.norm(dim=1, keepdim=True).clamp_min(FLOOR)
        valid = 1 - hole.flatten(2)
        logits = SHARPNESS * patches.transpose(1, 2) @ patches + NEVER * (1 - valid)
        return torch.softmax(logits, dim=2) * valid

    def mixed(self, x: Tensor, weights: Tensor, patch: int) -> Tensor:
        """Each position's patch as a mix of all, like ``x``."""
        patches = F.pixel_unshuffle(x, patch)
        mixed = patches.flatten(2) @ weights.transpose(1, 2)
        return F.pixel_shuffle(mixed.reshape(patches.shape), patch)
