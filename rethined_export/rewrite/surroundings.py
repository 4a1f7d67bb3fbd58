"""Codes of what surrounds each token, without unfolding: pixels are picked by convolutions."""

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

#: Squares along one side of a token and its margin.
_FINE, _ROUGH = (PATCH + 2 * MARGIN) // FINE, (PATCH + 2 * MARGIN) // ROUGH


class Surroundings(nn.Module):
    """Twin of the reference's, ``closeness · q`` and ``k``, as maps of 64 × 64.

    Args:
        closeness: what a mean squared difference of 1 costs a score.
    """

    places: Tensor
    asked_places: Tensor

    def __init__(self, closeness: float) -> None:
        super().__init__()
        self.colours = nn.Conv2d(3, 3, 1, bias=False)
        self.colours.weight.data = COLOURS[:, :, None, None].clone()
        self.brightness = _picking(torch.eye(_FINE**2).reshape(-1, 1, _FINE, _FINE), FINE)
        # Where a square of colour counts as much as the four of brightness on it.
        self.colour = _picking(2 * torch.eye(2 * _ROUGH**2).reshape(-1, 2, _ROUGH, _ROUGH), ROUGH)
        one = torch.eye(_ROUGH**2).reshape(-1, 1, _ROUGH, _ROUGH)
        four = F.interpolate(one.reshape(1, -1, _ROUGH, _ROUGH), scale_factor=2.0)[0]
        four = four.flatten(1).T.reshape(-1, 1, _ROUGH, _ROUGH)
        self.weight = _picking(2 * closeness * torch.cat([four, one, one]), ROUGH)
        self.counts = _picking(-closeness * one, ROUGH)
        self.total = _picking(torch.full((1, 1, _ROUGH, _ROUGH), 4.0), ROUGH)
        self.energy = _picking(one, ROUGH)
        places = place_bits().T.reshape(1, -1, GRID, GRID)
        self.register_buffer("places", places.contiguous())
        self.register_buffer("asked_places", closeness * WRONG_BIT / 2 * places)

    def forward(self, composite: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """``[1, 3, 512, 512]`` and ``[1, 1, 512, 512]`` → queries and keys ``[1, 71, 64, 64]``."""
        # Averages of colours are colours of averages, of a quarter of the pixels.
        colours = self.colours(F.avg_pool2d(composite, FINE))
        # Row by row: a sum of all in float16 would be near what it holds.
        colours = colours - colours.mean(3, keepdim=True).mean(2, keepdim=True)
        counts = 1 - (1 - PAINTED) * F.avg_pool2d(mask, FINE)
        fine = F.pad(torch.cat([colours, counts], dim=1), [MARGIN // FINE] * 4)
        rough = F.avg_pool2d(fine, ROUGH // FINE)
        brightness, colour, weight = fine[:, :1], rough[:, 1:3], rough[:, 3:]
        energy = 4 * F.avg_pool2d(brightness * brightness, 2)
        energy = energy + 4 * (colour * colour).sum(1, keepdim=True)
        held = torch.cat([self.brightness(brightness), self.colour(colour)], dim=1)
        queries = torch.cat([self.weight(weight) * held, self.counts(weight)], dim=1)
        queries = torch.cat([queries / self.total(weight), self.asked_places], dim=1)
        return queries, torch.cat([held, self.energy(energy), self.places], dim=1)


def _picking(kernel: Tensor, square: int) -> nn.Conv2d:
    """A convolution that takes squares of a token and its margin, each into a channel."""
    size, channels, side, _ = kernel.shape
    made = nn.Conv2d(channels, size, side, stride=PATCH // square, bias=False)
    made.weight.data = kernel.clone()
    return made
