"""The low-resolution image of the whole network, as something that can be trained."""

import torch
from torch import Tensor
from torch.nn import functional as F

from rethined_export.models.rethined.attention import FORBIDDEN
from rethined_export.models.rethined.blend import blend
from rethined_export.models.rethined.config import GRID, LOW_RESOLUTION, PATCH, TOKENS
from rethined_export.models.rethined.filters import gaussian_blur, high_frequencies
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
        composite: known pixels, and the coarse model's in the hole, ``[B, 3, 512, 512]``.
        features: the encoder's, of these images.
        truth: ``[B, 3, 512, 512]``.
        mask: ``[B, 1, 512, 512]``, each with a token that is all known.

    Returns:
        x̂_LR, and the expected cost of the patches that attention picks, averaged over each image's
        hole tokens: linear in the attention map, so its minimum is the one best key, and the
        attention sharpens by itself where the picture tells which key that is.
    """
    flags = F.max_pool2d(mask, PATCH).flatten(1)
    asking, offering = _places(flags)
    known = flags.gather(1, offering) == 0
    scores = hole_scores(model, composite.detach(), mask, features, asking, offering)
    soft = torch.softmax(scores + FORBIDDEN * ~known[:, None], dim=2)
    blurred, patches = _unfold(gaussian_blur(composite)), _unfold(composite)
    with torch.no_grad():
        copied = _rows(patches - blurred, offering)
        wanted = _unfold(high_frequencies(truth))
        texture = _rows(around(energies_of(wanted)), asking)
        costs = copy_costs(_rows(wanted, asking), texture, copied)
    mixed = soft @ copied
    picked = mixed + (_rows(copied, soft.argmax(2)) - mixed).detach()
    share, gain = _shares(model, mask)
    made = _rows(patches, asking)
    made = made + _rows(share, asking) * (_rows(blurred - patches, asking) + gain * picked)
    tokens = patches.scatter(1, asking[:, :, None].expand_as(made), made)
    low = F.fold(tokens.mT, LOW_RESOLUTION, PATCH, stride=PATCH)
    fill = flags.gather(1, asking)
    expected = (fill * (soft * costs).sum(2)).sum(1) / flags.sum(1).clamp(min=1)
    return mask * low + (1 - mask) * composite, expected.mean()


def _shares(model: Rethined, mask: Tensor) -> tuple[Tensor, Tensor | float]:
    """What pixels take of what is copied, ``[B, N, 192]``, and what that is multiplied with."""
    if not model.config.blended:
        return _unfold(mask.expand(-1, 3, -1, -1)), 1.0
    return _unfold(blend(mask).expand(-1, 3, -1, -1)), model.generator.gain


def hole_scores(
    model: Rethined,
    composite: Tensor,
    mask: Tensor,
    features: list[Tensor],
    asking: Tensor,
    offering: Tensor,
) -> Tensor:
    """Scores of some tokens, ``[B, Q]``, for others, ``[B, K]``: ``[B, Q, K]``.

    Only the projections learn from them.
    """
    head = model.generator.multihead_attention
    patches = _unfold(high_frequencies(composite))
    if model.config.feature_stage is not None:
        stage = features[model.config.feature_stage].detach().float()
        context = F.interpolate(stage, size=(GRID, GRID), mode="bilinear", align_corners=False)
        patches = torch.cat([patches, context.flatten(2).mT], dim=2)
    queries, keys = _rows(head.w_qs(patches), asking), _rows(head.w_ks(patches), offering)
    around, of_keys = head.alike(composite, mask)
    alike = _rows(around, asking) @ _rows(of_keys, offering).mT
    return torch.baddbmm(alike, queries, keys.mT, alpha=queries.shape[2] ** -0.5)


def _places(flags: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of the tokens that ask, and of those that offer.

    On a CPU the hole's and the known ones, as many as the fullest image of the batch has. On a GPU
    all: counting would wait for it, and its kernels can be recorded only where nothing does.
    """
    if flags.is_cuda:
        every = torch.arange(TOKENS, device=flags.device).expand(len(flags), -1)
        return every, every
    order = flags.argsort(dim=1, descending=True, stable=True)
    count = flags.sum(1)
    most, least = int(count.max()), int(count.min())
    return order[:, : max(most, 1)], order.flip(1)[:, : TOKENS - least]


def _unfold(x: Tensor) -> Tensor:
    """``[B, 3, 512, 512]`` → ``[B, N, 192]``."""
    return F.unfold(x, PATCH, stride=PATCH).mT


def _rows(tokens: Tensor, chosen: Tensor) -> Tensor:
    """``[B, N, C]`` and numbers ``[B, M]`` → ``[B, M, C]``."""
    return tokens.gather(1, chosen[:, :, None].expand(-1, -1, tokens.shape[2]))
