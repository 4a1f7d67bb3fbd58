"""Fusion: every level becomes the mean of all of them, brought to its size and channels."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.pmrf.config import LEVELS, PmrfConfig
from rethined_export.models.pmrf.layers import Layer

#: A map, 0 where unknown, and what is known of it; None: all.
Masked = tuple[Tensor, Tensor | None]


class Up(nn.Module):
    """From a level to a higher one: its channels by a 1×1 convolution, then its size."""

    def __init__(self, config: PmrfConfig, below: int, above: int) -> None:
        super().__init__()
        self.scale = float(2 ** (above - below))
        self.conv = nn.Conv2d(config.channels(below), config.channels(above), 1)

    def forward(self, x: Tensor, known: Tensor | None) -> Masked:
        x = self.conv(x)
        if known is None:
            return self._enlarged(x), None
        large = F.interpolate(known, scale_factor=self.scale, mode="nearest")
        return self._enlarged(x * known) * large, large

    def _enlarged(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)


class Fusion(nn.Module):
    """The mean of all levels on each, of those places only that are known.

    Args:
        lowest: level that is made; all above are too.
    """

    def __init__(self, config: PmrfConfig, lowest: int = 0) -> None:
        super().__init__()
        self.lowest = lowest
        self.downs, self.ups = nn.ModuleDict(), nn.ModuleDict()
        for source in range(LEVELS):
            for below in range(lowest, source):
                layer = Layer(config.channels(below + 1), config.channels(below), below, stride=2)
                self.downs[f"{source}_{below}"] = layer
            for above in range(max(source + 1, lowest), LEVELS):
                self.ups[f"{source}_{above}"] = Up(config, source, above)

    def forward(
        self, maps: Sequence[Tensor], known: Sequence[Tensor | None]
    ) -> tuple[list[Tensor], list[Tensor | None]]:
        """Maps and what is known of them, by level from the lowest there is; those that are made.

        A level is brought to lower ones by one layer after the other, each of stride 2.
        """
        parts: list[list[Masked]] = [[] for _ in maps]
        for source, given in enumerate(zip(maps, known, strict=True)):
            if source >= self.lowest:
                parts[source].append(given)
            for above in range(max(source + 1, self.lowest), LEVELS):
                parts[above].append(self.ups[f"{source}_{above}"](*given))
            for below in range(source - 1, self.lowest - 1, -1):
                given = self.downs[f"{source}_{below}"](*given)
                parts[below].append(given)
        made = [_mean(those) for those in parts[self.lowest :]]
        return [x for x, _ in made], [found for _, found in made]


def _mean(parts: Sequence[Masked]) -> Masked:
    """Of maps that are 0 where unknown."""
    total = reduce(torch.add, (x for x, _ in parts))
    masks = [known for _, known in parts if known is not None]
    if not masks:
        return total / len(parts), None
    count = reduce(torch.add, masks)
    return total / count.clamp_min(1.0), count.clamp_max(1.0)
