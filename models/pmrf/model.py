"""The network of parallel resolutions.

"Parallel Multi-Resolution Fusion Network for Image Inpainting", ICCV 2021. Neither its code nor its
weights are public; this is written from the equations of its slides, and from assumptions where
they are silent.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.pmrf.attention import Attention
from rethined_export.models.pmrf.config import LEVELS, PmrfConfig, check_size
from rethined_export.models.pmrf.fusion import Fusion
from rethined_export.models.pmrf.layers import Block, PartialConv, window_sum
from rethined_export.models.pmrf.priority import Rule, mask_update
from rethined_export.models.seeded import seed_weights

#: Of the stand-in's kernels.
_GAIN = 0.5


class Tally:
    """A rule that counts the updates in which each place was known after them."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self.updates: Tensor | None = None

    def __call__(self, known: Tensor, count: Tensor, priority: Tensor) -> Tensor:
        found = self._rule(known, count, priority)
        self.updates = found if self.updates is None else self.updates + found
        return found


class Fill(nn.Module):
    """Places still unknown become the mean of their known neighbours, ring by ring."""

    def forward(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, C, h, w]``, 0 where unknown, and ``[B, 1, h, w]``, 1 or 0; the same, all known.

        Where a sample has nothing known it stays as it is.
        """
        for _ in range(max(x.shape[2:]) - 1):
            if known.all():
                break
            count = window_sum(known)
            around = F.avg_pool2d(x, 3, stride=1, padding=1) * 9 / count.clamp_min(1.0)
            x, known = torch.where(known > 0, x, around), (count > 0).to(x.dtype)
        return x, known


class Stage(nn.Module):
    """Residual blocks on every level."""

    def __init__(self, config: PmrfConfig, first: bool) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for level in range(LEVELS):
            width = config.channels(level)
            inputs = [3 if first and not block else width for block in range(config.blocks)]
            self.levels.append(nn.ModuleList(Block(number, width, level) for number in inputs))

    def forward(
        self, maps: Sequence[Tensor], known: Sequence[Tensor | None], rules: Sequence[Rule]
    ) -> tuple[list[Tensor], list[Tensor | None]]:
        """By level from the lowest."""
        made, found = [], []
        for blocks, x, seen, rule in zip(self.levels, maps, known, rules, strict=True):
            for block in cast(nn.ModuleList, blocks):
                x, seen = block(x, seen, rule)
            made.append(x)
            found.append(seen)
        return made, found


class Pmrf(nn.Module):
    """The network."""

    def __init__(self, config: PmrfConfig) -> None:
        super().__init__()
        self.config = config
        count = config.masked_stages + config.attended_stages
        self.stages = nn.ModuleList(Stage(config, first=not stage) for stage in range(count))
        # Of the last one only the level that is painted from is asked for.
        lowest = [0] * (count - 1) + [LEVELS - 1]
        self.fusions = nn.ModuleList(Fusion(config, level) for level in lowest)
        self.attentions = nn.ModuleList(Attention(config) for _ in range(config.attended_stages))
        self.fill = Fill()
        self.paint = nn.Conv2d(config.channels(LEVELS - 1), 3, 3, padding=1)

    def forward(
        self, image: Tensor, known: Tensor, rule: Rule = mask_update
    ) -> tuple[Tensor, Tensor]:
        """Paint.

        Args:
            image: RGB in [-1, 1], ``[B, 3, H, W]``, 0 in the hole.
            known: ``[B, 1, H, W]``, 1 = known, 0 = hole.
            rule: what decides in each layer which places are painted.

        Returns:
            RGB in (-1, 1), known pixels painted too; and ``[B, 4, H, W]``, for each level from the
            lowest the number of updates after which a place was known.

        Raises:
            ValueError: a side is no multiple of 8.
        """
        check_size(image.shape[2], image.shape[3])
        sides = [2 ** self.config.shrinkings(level) for level in range(LEVELS)]
        maps: list[Tensor] = [_shrunk(F.avg_pool2d, image, side) for side in sides]
        seen: list[Tensor | None] = [_shrunk(F.max_pool2d, known, side) for side in sides]
        hole = F.max_pool2d(1 - known, sides[0], sides[0])
        tallies = [Tally(rule) for _ in sides]
        masked = self.config.masked_stages
        for number, (stage, fusion) in enumerate(zip(self.stages, self.fusions, strict=True)):
            maps, seen = stage(maps, seen, tallies)
            if number == masked - 1:
                maps[0], seen[0] = self.fill(maps[0], seen[0])
            if number >= masked:
                maps = self.attentions[number - masked](maps, hole)
            maps, seen = fusion(maps, seen)
            if number == masked - 1:
                seen = [None] * LEVELS  # the lowest level's mask, all ones, went to every other
        return torch.tanh(self.paint(maps[-1])), _full_size([t.updates for t in tallies], sides)


def _shrunk(pool: Callable[[Tensor, int, int], Tensor], x: Tensor, side: int) -> Tensor:
    return x if side == 1 else pool(x, side, side)


def _full_size(updates: Sequence[Tensor | None], sides: Sequence[int]) -> Tensor:
    """Of every level, as channels of one map."""
    return torch.cat(
        [
            F.interpolate(x, scale_factor=float(side), mode="nearest")
            for x, side in zip(updates, sides, strict=True)
            if x is not None
        ],
        dim=1,
    )


def seed_stand_in(model: nn.Module) -> None:
    """Fill a network in place with weights that follow from its tensors' names.

    Half of each kernel is made the same in all nine places. Of random ones alone a window with one
    known place gives three times what a whole one gives, and each ring of a hole the more.
    """
    seed_weights(model, _GAIN)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, PartialConv):
                kernel = module.conv.weight
                kernel.add_(3 * kernel.mean((2, 3), keepdim=True)).mul_(0.5**0.5)
