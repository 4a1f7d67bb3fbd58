"""Codes of what surrounds each token, without unfolding: squares are picked by slices.

No slice takes every other number: XNNPACK leaves such ones to LiteRT's loops on one thread. One
transpose puts numbers of even and odd rows and columns apart, and slices of those follow.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined import surroundings
from rethined_export.models.rethined.config import GRID, LOW_RESOLUTION, PATCH
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
#: Numbers in a code, energy counted twice.
CODE = surroundings.CODE + _SIDE**2
#: Of the places of an image of FINE.
_ROOT = math.isqrt(LOW_RESOLUTION // FINE)
#: Parts of one whose squares float16 holds, and their sum.
_EXACT = 16.0
#: What red counts in each of the colours.
_BRIGHTNESS, _FIRST, _SECOND = COLOURS[:, 0].tolist()


class Surroundings(nn.Module):
    """Twin of the reference's, ``closeness · q`` and ``k``, as maps of 64 × 64.

    Their numbers stand in another order, energy is two of them, and places count their root in
    both. Nothing in it has weights: what is compared must not be rounded where layers compute in
    8 bits.

    Args:
        closeness: what a mean squared difference of 1 costs a score.
    """

    places: Tensor

    def __init__(self, closeness: float) -> None:
        super().__init__()
        self.closeness = closeness
        # The root of what a place counts, so that queries and keys share what is stored.
        places = math.sqrt(closeness * WRONG_BIT / 2) * place_bits()
        self.register_buffer("places", places.T.reshape(1, -1, GRID, GRID).contiguous())

    def forward(self, composite: Tensor, mask: Tensor, one: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys, ``[1, 81, 64, 64]`` each.

        Args:
            composite: ``[1, 3, 512, 512]``. mask: ``[1, 1, 512, 512]``.
            one: 1 for each token, ``[1, 1, 64, 64]``; a graph stores it once.
        """
        # Averages of colours are colours of averages, of a quarter of the pixels.
        image = F.avg_pool2d(composite, FINE)
        # In two steps: a sum of all, which two means become in ONNX, would pass what float16 holds.
        # And before colours are added up: their differences are far smaller than what float16
        # rounds of the sums.
        image = image - F.avg_pool2d(F.avg_pool2d(image, _ROOT), _ROOT)
        counts = 1 - (1 - PAINTED) * F.avg_pool2d(mask, FINE)
        # Beyond the last token's margin too, for as many even rows and columns as odd ones.
        before, after = MARGIN // FINE, (MARGIN + ROUGH) // FINE
        planes = torch.cat([_colours(image), counts], dim=1)
        fine = F.pad(planes, [before, after, before, after])
        rough = F.avg_pool2d(fine, ROUGH // FINE)
        held = torch.cat([_apart(fine[:, :1]), 2 * rough[:, 1:3]], dim=1)
        weight, energies = rough[:, 3:], _energies(held)
        # Means over squares; each of ROUGH stands for so many of FINE.
        mean, parts = F.avg_pool2d(weight, _SIDE, _STEP), (ROUGH // FINE) ** 2
        energy = F.avg_pool2d(weight * energies, _SIDE, _STEP).sum(1, keepdim=True)
        own = -self.closeness / parts * energy / mean
        asked = self.closeness / (_SIDE**2 * parts) * weight
        queries = _around(torch.cat([2 * asked * held, -asked, -asked], dim=1)) / mean
        keys = _around(torch.cat([held, energies], dim=1))
        queries = torch.cat([queries, own, self.places], dim=1)
        return queries, torch.cat([keys, one, self.places], dim=1)


def _energies(held: Tensor) -> Tensor:
    """Sum of squares of what squares hold, as two numbers: ``[1, C, h, w]`` → ``[1, 2, h, w]``.

    What float16 rounds of it no other number of a key makes up for: it was nearly all of the wrong
    choices. Squares of sixteenths and their sum are exact, and what is left is small.
    """
    whole = torch.round(held * _EXACT) / _EXACT
    left = (held - whole) * (held + whole)
    return torch.cat([(whole * whole).sum(1, keepdim=True), left.sum(1, keepdim=True)], dim=1)


def _colours(image: Tensor) -> Tensor:
    """:data:`COLOURS` of an image, in sums and differences."""
    red, green, blue = image.chunk(3, dim=1)
    planes = [(red + green + blue) * _BRIGHTNESS, (red - green) * _FIRST]
    return torch.cat([*planes, (red + green - 2 * blue) * _SECOND], dim=1)


def _apart(planes: Tensor) -> Tensor:
    """Even and odd rows and columns, ``[1, C, 2·h, 2·w]`` → ``[1, 4·C, h, w]``.

    Numbers of even rows and columns come first, C planes, then those of even rows and odd columns,
    of odd rows and even columns, of odd ones.
    """
    _, channels, height, width = planes.shape
    rows = planes.reshape(channels * height // 2, 2, width // 2, 2)
    return rows.permute(1, 3, 0, 2).reshape(1, 4 * channels, height // 2, width // 2)


def _around(squares: Tensor) -> Tensor:
    """A token's squares and those of its margin, ``[1, C, 130, 130]`` → ``[1, 9·C, 64, 64]``."""
    count, parts = squares.shape[1], _apart(squares)
    own, right, below = parts[:, :, :GRID, :GRID], parts[:, :, :GRID, 1:], parts[:, :, 1:]
    odd_rows = slice(2 * count, 3 * count)
    beside = [right[:, :count], right[:, odd_rows]]
    under = [below[:, : 2 * count, :, :GRID], below[:, :count, :, 1:]]
    return torch.cat([own, *beside, *under], dim=1)
