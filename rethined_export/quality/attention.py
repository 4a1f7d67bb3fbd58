"""How sharp a network's attention is: what k keys keep of it."""

import torch

from rethined_export.models.rethined import Rethined
from rethined_export.quality.scenes import Case

KEPT = (1, 4, 16)


def mass_kept(model: Rethined, cases: list[Case]) -> dict[int, float]:
    """Share of the attention that a hole token's k strongest keys hold, averaged, for k of KEPT.

    Args:
        cases: at 512, where attention works.
    """
    sums = torch.zeros(len(KEPT))
    tokens = 0
    with torch.no_grad():
        for case in cases:
            found = model(case.image, case.mask)
            weights = torch.softmax(found.scores[found.hole > 0], dim=1)
            strongest = weights.topk(max(KEPT), dim=1).values.cumsum(dim=1)
            sums += torch.stack([strongest[:, k - 1].sum() for k in KEPT])
            tokens += len(weights)
    return {k: float(total) / tokens for k, total in zip(KEPT, sums, strict=True)}
