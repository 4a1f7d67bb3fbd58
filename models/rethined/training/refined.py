"""The low-resolution image of the whole network, as something that can be trained."""

import torch
from torch import Tensor
from torch.nn import functional as F

from rethined_export.models.rethined.config import LOW_RESOLUTION, PATCH
from rethined_export.models.rethined.filters import fold, gaussian_blur, high_frequencies, unfold
from rethined_export.models.rethined.model import Rethined
from rethined_export.models.rethined.training.losses import around, copy_costs, energies_of


def refined(
    model: Rethined, composite: Tensor, features: list[Tensor], truth: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Copy into each hole token the patch that attention prefers.

    Forward, that is one patch, as in a deployed network with k = 1; backward, the softmax: scores
    learn from what every other patch would have changed. What attention reads and copies is fixed:
    it teaches the coarse model nothing.

    Args:
        composite: known pixels, and the coarse model's in the hole, ``[1, 3, 512, 512]``.
        features: the encoder's, of this image.
        truth: ``[1, 3, 512, 512]``. mask: ``[1, 1, 512, 512]`` with a token that is all known.

    Returns:
        x̂_LR, and the expected cost of the patches that attention picks, averaged over hole tokens:
        linear in the attention map, so its minimum is the one best key, and the attention sharpens
        by itself where the picture tells which key that is.
    """
    flags = F.max_pool2d(mask, PATCH).flatten() > 0
    hole, known = flags.nonzero()[:, 0], (~flags).nonzero()[:, 0]
    soft = torch.softmax(hole_scores(model, composite.detach(), features, hole, known), dim=1)
    blurred, patches = unfold(gaussian_blur(composite), PATCH), unfold(composite, PATCH)
    with torch.no_grad():
        copied = (patches - blurred)[known]
        wanted = unfold(high_frequencies(truth), PATCH)
        costs = copy_costs(wanted[hole], around(energies_of(wanted))[hole], copied)
        sharpest = F.one_hot(soft.argmax(1), len(known)).to(soft.dtype) - soft
    tokens = patches.index_copy(0, hole, blurred[hole] + (soft + sharpest) @ copied)
    low = fold(tokens, PATCH, LOW_RESOLUTION, LOW_RESOLUTION)
    return mask * low + (1 - mask) * composite, (soft * costs).sum(1).mean()


def hole_scores(
    model: Rethined, composite: Tensor, features: list[Tensor], hole: Tensor, known: Tensor
) -> Tensor:
    """Scores of hole tokens for known ones, ``[H, K]``; only the projections learn from them."""
    head = model.generator.multihead_attention
    tokens = model.tokens(composite, [feature.detach().float() for feature in features])
    places = head.places()
    return head.scores(tokens[hole], tokens[known]) + places[hole] @ places[known].T
