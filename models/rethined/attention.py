"""NeuralPatchMatch attention: which known patch fills which hole patch."""

import math

import torch
from torch import Tensor, nn

from rethined_export.models.rethined.config import (
    GRID,
    PATCH_SIZE,
    TOKENS,
    RethinedConfig,
    Variant,
)

#: Added to a score that must not win. Large enough to vanish after softmax, small enough for fp16.
FORBIDDEN = -1e4

#: Keys whole periods away are preferred: tokens, a power of two. What each wrong bit of the place
#: within a period costs, and what being near gives at most, for rows and columns each. At a cost of
#: 20 a token had a dozen keys to choose from, and copied crumbs of edges into smooth ground.
_PERIOD, _WRONG_BIT, _NEAR = 16, 2.5, 8.0
#: Numbers in the code of a row or column: one a bit, and a wave's two.
POSITION = _PERIOD.bit_length() - 1 + 2


def position_code() -> Tensor:
    """Code of each row, or column, of the token grid, ``[64, 6]``.

    The product of two codes is largest where the rows are whole periods apart, and among those
    where they are near. So neighbouring queries, whose features are nearly the same, ask for
    neighbouring keys, and a texture is copied in one piece; without it every token of a large hole
    asks for the same key, and the hole is tiled with one patch.
    """
    # Also where a network is built for its shapes alone: on no device, torch imports its compiler.
    row = torch.arange(GRID, device="cpu")
    bits = [((row >> bit) & 1) * 2.0 - 1 for bit in range(_PERIOD.bit_length() - 1)]
    angle = 2 * math.pi * row / (2 * GRID)  # half a turn from one end of the grid to the other
    code = [bit * math.sqrt(_WRONG_BIT / 2) for bit in bits]
    code += [wave * math.sqrt(_NEAR) for wave in (angle.cos(), angle.sin())]
    # Sixteenths: their products and sums are exact in any order, and they are exact in fp16.
    return torch.round(16 * torch.stack(code, dim=1)) / 16


class PatchAttention(nn.Module):
    """Projections of one attention head; the published variant also projects values and result."""

    position: Tensor

    def __init__(self, config: RethinedConfig) -> None:
        super().__init__()
        self.w_qs = nn.Linear(config.token_size, config.d_k, bias=False)
        self.w_ks = nn.Linear(config.token_size, config.d_k, bias=False)
        if config.variant == "published":
            self.w_vs = nn.Linear(PATCH_SIZE, PATCH_SIZE, bias=False)
            self.fc = nn.Linear(PATCH_SIZE, PATCH_SIZE, bias=False)
        if config.position:
            self.register_buffer("position", position_code()[:, : config.position])

    def scores(self, asking: Tensor, offering: Tensor) -> Tensor:
        """``QKᵀ/√d_k`` of tokens ``[Q, token_size]`` and ``[K, token_size]`` → ``[Q, K]``."""
        queries, keys = self.w_qs(asking), self.w_ks(offering)
        return queries @ keys.T / math.sqrt(queries.shape[1])

    def places(self) -> Tensor:
        """Codes of all tokens, ``[N, 2·position]``: their row's, then their column's.

        The product of a query's and a key's is added to their score.
        """
        if not hasattr(self, "position"):
            return self.w_qs.weight.new_zeros(TOKENS, 0)
        rows = self.position.repeat_interleave(GRID, 0)
        return torch.cat([rows, self.position.repeat(GRID, 1)], dim=1)


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
