"""What surrounds a token, coded so that the product of two codes compares them.

What a query knows of its patch and the pixels around it is compared with the same pixels of a key:

    −d(i, j) = −Σ_p w_ip |x_ip − x_jp|² / Σ_p w_ip
             = (2 Σ_p w_ip x_ip·x_jp − Σ_p w_ip |x_jp|² − Σ_p w_ip |x_ip|²) / Σ_p w_ip

is a product. Its last term is the same for all keys of a query and chooses nothing; with it the
best scores are near zero, where float16 tells them apart. PatchMatch (Barnes 2009) searches by the
same distance.

Deep in a large hole tokens look alike, and would all copy one key. So neighbours are made to ask
for neighbours: where a key stands within a period of 16 tokens is compared with where the query
does, bit by bit.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined.config import GRID, PATCH

#: Pixels around a patch that are compared too, and sides of the squares that brightness and colour
#: are averaged over: finer and wider fills no better (docs/training.md), and costs more.
MARGIN, FINE, ROUGH = 2, 2, 4
#: Bits of a row's and a column's place in a period, and the distance that a wrong one adds.
BITS, WRONG_BIT = 4, 0.001
#: Numbers in a code: brightness, two differences of colours, and energy or weight; a query's
#: own energy; places.
CODE = ((PATCH + 2 * MARGIN) // FINE) ** 2 + 3 * ((PATCH + 2 * MARGIN) // ROUGH) ** 2 + 1 + 2 * BITS
#: Weight of a painted pixel; a known one's is 1. It decides where nothing near is known.
PAINTED = 0.03
#: What a mean squared difference of 1, summed over colours, costs a score. Distances are at most 3,
#: so no known key is as bad as one that is forbidden.
CLOSENESS = 8000.0
#: Brightness and two differences of colours, at right angles: distances stay as in RGB.
COLOURS = torch.tensor([[2.0, 2.0, 2.0], [6**0.5, -(6**0.5), 0.0], [2**0.5, 2**0.5, -(8**0.5)]])
COLOURS = COLOURS / 12**0.5


class Surroundings(nn.Module):
    """Codes of tokens. What they are made with lies where the network does, and is in no file."""

    colours: Tensor
    places: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("colours", COLOURS.clone(), persistent=False)
        self.register_buffer("places", place_bits(), persistent=False)

    def forward(self, composite: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of all tokens as queries and as keys, ``[B, N, 72]`` each.

        The product of two is the negated distance of a query's surroundings to a key's, in [−3, 0],
        and the agreement of their places, in [−0.004, 0.004]. Beyond the image's border nothing is
        known.

        Args:
            composite: the photo, painted in the hole, RGB ``[B, 3, 512, 512]`` in [0, 1].
            mask: ``[B, 1, 512, 512]``, 1 = painted.
        """
        colours = torch.einsum("dc,bchw->bdhw", self.colours, composite)
        # No distance knows where colours are counted from; small products are exact in few digits.
        colours = colours - colours.mean((2, 3), keepdim=True)
        planes = torch.cat([colours, 1 - (1 - PAINTED) * mask], dim=1)
        fine = F.pad(F.avg_pool2d(planes, FINE), [MARGIN // FINE] * 4)
        rough = F.avg_pool2d(fine, ROUGH // FINE)
        # A square of ROUGH: the brightness of each part, and colour, which counts as much as all.
        held = torch.cat([F.pixel_unshuffle(fine[:, :1], ROUGH // FINE), 2 * rough[:, 1:3]], dim=1)
        weight, energy = rough[:, 3:], held.square().sum(1, keepdim=True)
        total = (ROUGH // FINE) ** 2 * _around(weight).sum(2, keepdim=True)
        own = _around(weight * energy).sum(2, keepdim=True) / total
        queries = _around(torch.cat([2 * weight * held, -weight], dim=1)) / total
        keys = _around(torch.cat([held, energy], dim=1))
        places = self.places.expand(len(keys), -1, -1)
        queries = torch.cat([queries, -own, WRONG_BIT / 2 * places], dim=2)
        return queries, torch.cat([keys, torch.ones_like(own), places], dim=2)


def place_bits() -> Tensor:
    """Bits, as ±1, of each token's row and then of its column, ``[N, 8]``."""
    # Also where a network is built for its shapes alone: on no device, torch imports its compiler.
    at = torch.arange(GRID, device="cpu")
    bits = torch.stack([((at >> bit) & 1) * 2.0 - 1 for bit in range(BITS)], dim=1)
    return torch.cat([bits.repeat_interleave(GRID, 0), bits.repeat(GRID, 1)], dim=1)


def _around(squares: Tensor) -> Tensor:
    """A token's squares and those of its margin, ``[B, C, 129, 129]`` → ``[B, N, C·9]``."""
    return F.unfold(squares, (PATCH + 2 * MARGIN) // ROUGH, stride=PATCH // ROUGH).mT
