"""Attention and coherence for hole tokens alone.

Known tokens are copied, so only hole tokens ask, mix and pass the coherence layer: the cost follows
the hole. The paper's variant only: the published one changes known tokens too.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined import GRID, PATCH, Rethined
from rethined_export.models.rethined.config import PATCH_SIZE, TOKENS
from rethined_export.recipes.rethined.low import Look, LowResolution, blending
from rethined_export.rewrite.fetch import PatchFetch
from rethined_export.rewrite.tokens import Strongest

#: Queries whose scores are held at once, so that no budget makes a map of N × N.
_BLOCK = 1024
#: Tokens that the coherence layer reads around one: itself and eight neighbours.
AROUND = 9


def neighbours() -> Tensor:
    """The 3×3 tokens around each, reflected at the grid's border, ``[N, 9]``."""
    index = torch.arange(TOKENS, dtype=torch.float32).reshape(1, 1, GRID, GRID)
    padded = F.pad(index, [1] * 4, mode="reflect")
    return F.unfold(padded, 3)[0].T


def _as_linear(convolution: nn.Conv2d) -> nn.Linear:
    """The coherence layer over nine patches laid end to end."""
    # Patches are read row by row, each row with its three channels; the layer has them first.
    order = torch.arange(PATCH_SIZE).reshape(3, PATCH, PATCH).transpose(0, 1).flatten()
    weight = convolution.weight[order][:, order]
    linear = nn.Linear(AROUND * PATCH_SIZE, PATCH_SIZE)
    linear.weight.data = weight.permute(0, 2, 3, 1).reshape(PATCH_SIZE, -1).contiguous()
    assert convolution.bias is not None
    linear.bias.data = convolution.bias.data[order]
    return linear


class Choosing(nn.Module):
    """What comes after the look at the image, for a list of hole tokens: equal to the dense one.

    It holds no convolution, so it is cheap to run once for each part of a large hole.

    Args:
        model: reference of the ``paper`` variant, in eval mode.
        top_k: keys kept for each.

    Raises:
        ValueError: the published variant.
    """

    near: Tensor

    def __init__(self, model: Rethined, top_k: int = 1) -> None:
        super().__init__()
        if model.config.variant != "paper":
            raise ValueError("the published variant changes every token, not only the hole's")
        self.top_k = top_k
        self.coherent = model.config.coherence
        self.blend = blending(model)
        if model.generator.coherence is not None:
            self.mix = _as_linear(model.generator.coherence)
            self.register_buffer("near", neighbours())
        self.strongest = Strongest(top_k, _BLOCK)
        self.fetch = PatchFetch(3, PATCH, GRID)
        self.fetch_shares = PatchFetch(1, PATCH, GRID)
        self.eval().requires_grad_(False)

    def forward(
        self,
        composite: Tensor,
        details: Tensor,
        queries: Tensor,
        keys: Tensor,
        shares: Tensor,
        tokens: Tensor,
        rows: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Choose what hole tokens copy, and fill them at low resolution.

        With a coherence layer, a token is filled exactly where all hole tokens among its eight
        neighbours are in the list.

        Args:
            composite: x_c ``[1, 3, 512, 512]``. details: F of it, the same.
            queries: ``[N, d]``. keys: ``[d, N]``.
            shares: how much of copied details each pixel takes, ``[1, 1, 512, 512]``.
            tokens: hole tokens, int32 ``[K]``; spare places may repeat any token.
            rows: place of every token in the list, K where it is not in it, int32 ``[N]``; for the
                coherence layer, if there is one.

        Returns:
            Patches of x̂_LR ``[K, 8, 3, 8]``, keys int32 ``[1, K, k]`` and their attention scores
            ``[1, K, k]``.
        """
        scores, indices = self._choose(queries, keys, tokens)
        low = self.settle(composite, details, shares, tokens, rows, indices, scores)
        return low, indices, scores

    def settle(
        self,
        composite: Tensor,
        details: Tensor,
        shares: Tensor,
        tokens: Tensor,
        rows: Tensor | None,
        indices: Tensor,
        scores: Tensor,
    ) -> Tensor:
        """Patches of x̂_LR ``[K, 8, 3, 8]`` once the keys are chosen."""
        image, own = self.fetch(composite, tokens), self.fetch(details, tokens)
        copied, inside = self._mix(details, indices, scores), self.fetch_shares(shares, tokens)
        if not self.coherent:
            return self.blend(image, own, copied, inside)
        assert rows is not None
        # x_c − F is the blurred image, B.
        low = self._cohere(composite, image - own + copied, tokens, rows)
        return inside * low + (1 - inside) * image

    def _choose(self, queries: Tensor, keys: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Best keys of the listed tokens: scores and int32 indices, each ``[1, K, k]``."""
        asked = F.embedding(tokens, queries)
        parts = [self.strongest(torch.matmul(block, keys)[None, None]) for block in _blocks(asked)]
        if len(parts) == 1:
            return parts[0]
        scores, indices = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        return scores, indices

    def _mix(self, details: Tensor, indices: Tensor, scores: Tensor) -> Tensor:
        """``Σ_k w_k · F[J_k]``, ``[K, 8, 3, 8]``."""
        if self.top_k == 1:
            return self.fetch(details, indices.reshape(-1))
        weights = torch.softmax(scores, dim=2)
        mixed = None
        for rank in range(self.top_k):
            share = weights[0, :, rank].reshape(-1, 1, 1, 1)
            part = share * self.fetch(details, indices[0, :, rank])
            mixed = part if mixed is None else mixed + part
        assert mixed is not None
        return mixed

    def _cohere(self, composite: Tensor, filled: Tensor, tokens: Tensor, rows: Tensor) -> Tensor:
        """Coherence layer over each token and its neighbours, ``[K, 8, 3, 8]``."""
        count = tokens.shape[0]
        near = F.embedding(tokens, self.near).to(torch.int32).reshape(-1)
        places = F.embedding(near, rows.reshape(-1, 1).float()).to(torch.int32).reshape(-1)
        listed = (places < count).float().reshape(-1, 1)
        table = torch.cat([filled.reshape(count, PATCH_SIZE), torch.zeros(1, PATCH_SIZE)])
        known = self.fetch(composite, near).reshape(-1, PATCH_SIZE)
        around = F.embedding(places, table) + (1 - listed) * known
        mixed = self.mix(around.reshape(count, AROUND * PATCH_SIZE))
        return torch.sigmoid(mixed).reshape(count, PATCH, 3, PATCH)


class Looking(LowResolution):
    """All that a photo's hole tokens have in common: the coarse network, run once for any hole."""

    def __init__(self, model: Rethined) -> None:
        super().__init__(model)
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Look at the image.

        Args:
            image: x_LR ``[1, 3, 512, 512]`` in [0, 1]; what lies in the hole is not read.
            mask: m_LR ``[1, 1, 512, 512]``, 1 = hole.

        Returns:
            What :class:`Choosing` reads: x_c and F ``[1, 3, 512, 512]``, queries ``[N, d]``, keys
            ``[d, N]`` and shares ``[1, 1, 512, 512]``.
        """
        composite, details, queries, keys, shares = as_read(self.look(image, mask))
        if not self.config.blended:
            shares = shares.clamp(max=1)  # the mask itself, which as an output is to be another
        return composite, details, queries, keys, shares


def as_read(look: Look) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A look as :class:`Choosing` reads it, shares last."""
    queries = look.queries.reshape(-1, TOKENS).transpose(0, 1)
    keys = look.keys.reshape(-1, TOKENS)
    return look.composite, look.high, queries, keys, look.shares


def _blocks(asked: Tensor) -> list[Tensor]:
    """Queries in blocks; ``split`` itself is lowered badly by two converters."""
    if asked.shape[0] <= _BLOCK:
        return [asked]
    return [asked[start : start + _BLOCK] for start in range(0, asked.shape[0], _BLOCK)]
