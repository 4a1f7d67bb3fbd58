"""Fusion: every level becomes the mean of all of them, brought to its size and channels."""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.pmrf.config import LEVELS, PmrfConfig
from rethined_export.models.pmrf.layers import Layer


class Down(nn.Module):
    """From a level to a lower one by layers of stride 2."""

    def __init__(self, config: PmrfConfig, above: int, below: int) -> None:
        super().__init__()
        levels = range(above, below, -1)
        self.layers = nn.ModuleList(
            Layer(config.channels(level), config.channels(level - 1), level, stride=2)
            for level in levels
        )

    def forward(self, x: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor | None]:
        for layer in self.layers:
            x, known = layer(x, known)
        return x, known


class Up(nn.Module):
    """From a level to a higher one: its channels by a 1×1 convolution, then its size."""

    def __init__(self, config: PmrfConfig, below: int, above: int) -> None:
        super().__init__()
        self.scale = float(2 ** (above - below))
        self.conv = nn.Conv2d(config.channels(below), config.channels(above), 1)

    def forward(self, x: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor | None]:
        x = self.conv(x)
        if known is None:
            return self._enlarged(x), None
        large = F.interpolate(known, scale_factor=self.scale, mode="nearest")
        return self._enlarged(x * known) * large, large

    def _enlarged(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)


class Same(nn.Module):
    """A level to itself."""

    def forward(self, x: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return x, known


class Fusion(nn.Module):
    """The mean of all levels on each, of those places only that are known.

    Args:
        targets: levels that are made.
    """

    def __init__(self, config: PmrfConfig, targets: Iterable[int] = range(LEVELS)) -> None:
        super().__init__()
        self.paths = nn.ModuleList(
            nn.ModuleList(_path(config, source, target) for source in range(LEVELS))
            for target in targets
        )

    def forward(
        self, maps: Sequence[Tensor], known: Sequence[Tensor | None]
    ) -> tuple[list[Tensor], list[Tensor | None]]:
        """Maps and what is known of them by level from the lowest; the same of each target."""
        given = list(zip(maps, known, strict=True))
        made = [
            _mean(
                [path(*pair) for path, pair in zip(cast(nn.ModuleList, paths), given, strict=True)]
            )
            for paths in self.paths
        ]
        return [x for x, _ in made], [found for _, found in made]


def _path(config: PmrfConfig, source: int, target: int) -> nn.Module:
    if source == target:
        return Same()
    return (Down if source > target else Up)(config, source, target)


def _mean(parts: Sequence[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor | None]:
    """Of maps that are 0 where unknown."""
    total = reduce(torch.add, (x for x, _ in parts))
    masks = [known for _, known in parts if known is not None]
    if not masks:
        return total / len(parts), None
    count = reduce(torch.add, masks)
    return total / count.clamp_min(1), count.clamp_max(1)
