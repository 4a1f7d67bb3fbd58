"""The part at low resolution that every exported program shares."""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined import Rethined, reparameterise
from rethined_export.models.rethined.attention import FORBIDDEN
from rethined_export.models.rethined.config import GRID, PATCH, STAGE_STRIDES, TOKENS
from rethined_export.recipes.rethined.coarse import CoarseGraph
from rethined_export.rewrite.blend import Blend
from rethined_export.rewrite.blur import SeparableBlur
from rethined_export.rewrite.surroundings import Surroundings
from rethined_export.rewrite.tokens import TokenProjection


@dataclass(frozen=True)
class Look:
    """What the network knows of the low-resolution image before attention.

    Attributes:
        composite: x_c ``[1, 3, 512, 512]``: the coarse image in the hole, the photo elsewhere.
        blurred, high: B and F of it, each ``[1, 3, 512, 512]``.
        queries, keys: ``[1, d, 64, 64]``, d_k projections, the code of what surrounds each token
            and, in the paper's variant, 1 and what a key's being in the hole adds to its score; the
            queries' projections carry the factor 1/√d_k.
        shares: how much of copied details each pixel takes ``[1, 1, 512, 512]``; m_LR where the
            network does not blend.
    """

    composite: Tensor
    blurred: Tensor
    high: Tensor
    queries: Tensor
    keys: Tensor
    shares: Tensor


class LowResolution(nn.Module):
    """Coarse model, attention projections and blur, ready for export.

    Args:
        model: reference in eval mode; it is copied and re-parameterised.
    """

    one: Tensor

    def __init__(self, model: Rethined) -> None:
        super().__init__()
        model = copy.deepcopy(model)
        reparameterise(model)
        self.config = model.config
        self.paper = model.config.variant == "paper"
        self.coarse = CoarseGraph(model.coarse_model)
        head = model.generator.multihead_attention
        # Queries and keys in one convolution: each alone would read the image again.
        gain = 1 / math.sqrt(model.config.d_k)
        self.project = TokenProjection(torch.cat([head.w_qs.weight * gain, head.w_ks.weight]))
        self.blur = SeparableBlur()
        self.blend = blending(model)
        if self.paper or self.config.surroundings:
            self.register_buffer("one", torch.ones(1, 1, GRID, GRID))
        if self.config.surroundings:
            self.surroundings = Surroundings(float(head.closeness))

    def look(self, x_low: Tensor, mask_low: Tensor) -> Look:
        """Coarse image, its frequencies, queries and keys.

        Args:
            x_low: x_LR ``[1, 3, 512, 512]``; what lies in the hole is not read.
            mask_low: m_LR ``[1, 1, 512, 512]``.
        """
        composite, features = self.coarse(x_low, mask_low)
        blurred = self.blur(composite)
        high = composite - blurred
        queries, keys = self.project(high, self._context(features)).chunk(2, dim=1)
        asking, offering = [queries], [keys]
        if self.config.surroundings:
            around, of_keys = self.surroundings(composite, mask_low, self.one)
            asking.append(around)
            offering.append(of_keys)
        if self.paper:
            # The product adds the bias too: added to the scores, it would go over all of them.
            hole = F.max_pool2d(mask_low, PATCH, PATCH)
            asking.append(self.one)
            offering.append(hole * FORBIDDEN)
        queries, keys = torch.cat(asking, dim=1), torch.cat(offering, dim=1)
        return Look(composite, blurred, high, queries, keys, self.blend.shares(mask_low))

    def _context(self, features: list[Tensor]) -> Tensor | None:
        """Encoder features of the stage that joins the tokens; None if there is none."""
        stage = self.config.feature_stage
        return None if stage is None else to_grid(features[stage], stage)


def blending(model: Rethined) -> Blend:
    """How a network's copied details set in."""
    return Blend(float(model.generator.gain) if model.config.blended else None)


def to_grid(features: Tensor, stage: int) -> Tensor:
    """Bring a stage's encoder features to one vector a token, ``[1, C, 64, 64]``."""
    factor = STAGE_STRIDES[stage] / PATCH
    if factor == 1:
        return features
    return F.interpolate(features, scale_factor=factor, mode="bilinear", align_corners=False)


def all_scores(look: Look) -> Tensor:
    """``QKᵀ/√d_k`` of every token with every token, ``[1, 1, N, N]``; the paper's, biased."""
    queries = look.queries.reshape(1, 1, -1, TOKENS)
    return torch.matmul(queries.transpose(2, 3), look.keys.reshape(1, 1, -1, TOKENS))


def softmax(scores: Tensor, dim: int, limit: float | None) -> Tensor:
    """Weights of biased scores, which a dialect may clamp to ± a limit first."""
    return torch.softmax(scores if limit is None else scores.clamp(-limit, limit), dim=dim)


def mass_kept(scores: Tensor, indices: Tensor, hole: Tensor, limit: float | None = None) -> float:
    """Mean share of the attention of hole tokens that falls on the keys kept, in [0, 1].

    Args:
        scores: biased, of all tokens ``[1, 1, N, N]``.
        indices: keys kept ``[1, N, k]``.
        hole: token flags ``[1, 1, 64, 64]``; without any, nothing is lost.
        limit: what a dialect clamps scores to.
    """
    asks = hole.flatten() > 0
    if not asks.any():
        return 1.0
    weights = softmax(scores[0, 0][asks], 1, limit)
    return float(weights.gather(1, indices[0][asks].long()).sum(1).mean())
