"""NeuralPatchMatch attention: which known patch fills which hole patch."""

import math

import torch
from torch import Tensor, nn

from rethined_export.models.rethined.config import PATCH_SIZE, TOKENS, RethinedConfig, Variant
from rethined_export.models.rethined.surroundings import CLOSENESS, Surroundings

#: Added to a score that must not win. Large enough to vanish after softmax, small enough for fp16.
FORBIDDEN = -3e4


class PatchAttention(nn.Module):
    """Projections of one attention head; the published variant also projects values and result."""

    closeness: Tensor

    def __init__(self, config: RethinedConfig) -> None:
        super().__init__()
        self.w_qs = nn.Linear(config.token_size, config.d_k, bias=False)
        self.w_ks = nn.Linear(config.token_size, config.d_k, bias=False)
        if config.variant == "published":
            self.w_vs = nn.Linear(PATCH_SIZE, PATCH_SIZE, bias=False)
            self.fc = nn.Linear(PATCH_SIZE, PATCH_SIZE, bias=False)
        if config.surroundings:
            self.register_buffer("closeness", torch.tensor([CLOSENESS]))
            self.surroundings = Surroundings()

    def scores(self, asking: Tensor, offering: Tensor) -> Tensor:
        """``QKᵀ/√d_k`` of tokens ``[Q, token_size]`` and ``[K, token_size]`` → ``[Q, K]``."""
        queries, keys = self.w_qs(asking), self.w_ks(offering)
        return queries @ keys.T / math.sqrt(queries.shape[1])

    def alike(self, composite: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of what surrounds each token, as queries and as keys, ``[B, N, c]`` each.

        The product of two is added to their score; c is 0 where the network has none.
        """
        if not hasattr(self, "closeness"):
            none = composite.new_zeros(len(composite), TOKENS, 0)
            return none, none
        queries, keys = self.surroundings(composite, mask)
        return self.closeness * queries, keys


def mask_scores(scores: Tensor, hole: Tensor, variant: Variant) -> Tensor:
    """Add the attention bias for hole queries.

    ``paper``: a hole query sees known keys only. ``published``: it sees every key but itself (the
    authors' code computes a key mask and never applies it).

    Args:
        scores: ``[N, N]``.
        hole: token flags ``[N]``, 1 where the token is to be filled.
    """
    if variant == "paper":
        return scores + FORBIDDEN * hole[None, :]
    return scores + FORBIDDEN * torch.diag(hole)


def prefer_self(scores: Tensor, hole: Tensor) -> Tensor:
    """Add the bias of known queries, on their own key, for softmax to choose it.

    Args:
        scores: ``[N, N]``.
        hole: token flags ``[N]``.
    """
    return scores - FORBIDDEN * torch.diag(1 - hole)


def attention_map(
    scores: Tensor,
    hole: Tensor,
    top_k: int | None = None,
    indices: Tensor | None = None,
    limit: float | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Rows of weights that sum to one; a known token attends to itself only (``A_ii = 1``).

    Args:
        scores: biased scores ``[N, N]``.
        hole: token flags ``[N]``.
        top_k: keep the k strongest keys of a query and renormalise; None keeps all.
        indices: ``[N, k]`` keys to use instead of the strongest ones.
        limit: clamp scores to ± this once keys are chosen, which changes no order. Known tokens
            then have softmax rows too: their own key, at the limit, is no longer all.

    Returns:
        The map ``[N, N]`` and the keys used, ``[N, k]``, or None when all are.
    """
    if indices is None and top_k is not None:
        indices = scores.topk(top_k, dim=1).indices
    if limit is not None:
        scores = scores.clamp(-limit, limit)
    if indices is None:
        weights = torch.softmax(scores, dim=1)
    else:
        kept = torch.softmax(scores.gather(1, indices), dim=1)
        weights = torch.zeros_like(scores).scatter(1, indices, kept)
    if limit is not None:
        return weights, indices
    identity = torch.eye(len(scores), dtype=scores.dtype)
    return torch.where(hole[:, None] > 0, weights, identity), indices
