"""Codes of what surrounds each token, without unfolding: squares are picked by slices."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined.config import GRID, PATCH
from rethined_export.models.rethined.surroundings import (
    COLOURS,
    FINE,
    MARGIN,
    PAINTED,
    ROUGH,
    WRONG_BIT,
    place_bits,
)

#: Squares along one side of a token and its margin, and from one token to the next.
_SIDE, _STEP = (PATCH + 2 * MARGIN) // ROUGH, PATCH // ROUGH
#: What red counts in each of the colours.
_BRIGHTNESS, _FIRST, _SECOND = COLOURS[:, 0].tolist()


class Surroundings(nn.Module):
    """Twin of the reference's, ``closeness · q`` and ``k``, as maps of 64 × 64.

    Their numbers stand in another order, square by square, and places count their root in both.
    Nothing in it has weights: what is compared must not be rounded where layers compute in 8 bits.

    Args:
        closeness: what a mean squared difference of 1 costs a score.
    """

    one: Tensor
    places: Tensor

    def __init__(self, closeness: float) -> None:
        super().__init__()
        self.closeness = closeness
        self.register_buffer("one", torch.ones(1, 1, GRID, GRID))
        # The root of what a place counts, so that queries and keys share what is stored.
        places = math.sqrt(closeness * WRONG_BIT / 2) * place_bits()
        self.register_buffer("places", places.T.reshape(1, -1, GRID, GRID).contiguous())

    def forward(self, composite: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """``[1, 3, 512, 512]`` and ``[1, 1, 512, 512]`` → queries and keys ``[1, 72, 64, 64]``."""
        # Averages of colours are colours of averages, of a quarter of the pixels.
        image = F.avg_pool2d(composite, FINE)
        # Row by row: a sum of all in float16 would be near what it holds. And before colours are
        # added up: their differences are far smaller than what float16 rounds of the sums.
        image = image - image.mean(3, keepdim=True).mean(2, keepdim=True)
        counts = 1 - (1 - PAINTED) * F.avg_pool2d(mask, FINE)
        fine = F.pad(torch.cat([_colours(image), counts], dim=1), [MARGIN // FINE] * 4)
        rough = F.avg_pool2d(fine, ROUGH // FINE)
        held = torch.cat([*_parts(fine[:, :1]), 2 * rough[:, 1:3]], dim=1)
        weight, energy = rough[:, 3:], (held * held).sum(1, keepdim=True)
        # Means over squares; each of ROUGH stands for so many of FINE.
        mean, parts = F.avg_pool2d(weight, _SIDE, _STEP), (ROUGH // FINE) ** 2
        own = -self.closeness / parts * F.avg_pool2d(weight * energy, _SIDE, _STEP) / mean
        asked = self.closeness / (_SIDE**2 * parts) * weight
        queries = _around(torch.cat([2 * asked * held, -asked], dim=1)) / mean
        keys = _around(torch.cat([held, energy], dim=1))
        queries = torch.cat([queries, own, self.places], dim=1)
        return queries, torch.cat([keys, self.one, self.places], dim=1)


def _colours(image: Tensor) -> Tensor:
    """:data:`COLOURS` of an image, in sums and differences."""
    red, green, blue = image.chunk(3, dim=1)
    planes = [(red + green + blue) * _BRIGHTNESS, (red - green) * _FIRST]
    return torch.cat([*planes, (red + green - 2 * blue) * _SECOND], dim=1)


def _parts(plane: Tensor) -> list[Tensor]:
    """The squares of FINE in each of ROUGH, ``[1, 1, h, w]`` → four of ``[1, 1, h/2, w/2]``."""
    step = ROUGH // FINE
    return [plane[:, :, y::step, x::step] for y in range(step) for x in range(step)]


def _around(squares: Tensor) -> Tensor:
    """A token's squares and those of its margin, ``[1, C, 129, 129]`` → ``[1, 9·C, 64, 64]``."""
    last = _STEP * (GRID - 1) + 1
    offsets = [(y, x) for y in range(_SIDE) for x in range(_SIDE)]
    picked = [squares[:, :, y : y + last : _STEP, x : x + last : _STEP] for y, x in offsets]
    return torch.cat(picked, dim=1)
