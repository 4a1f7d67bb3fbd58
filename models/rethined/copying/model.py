"""The copying network: each hole token becomes a whole patch of the photo, chosen by cosine.

Notation as in :mod:`rethined_export.models.rethined.model`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined.attention import FORBIDDEN
from rethined_export.models.rethined.config import GRID, LOW_RESOLUTION, PATCH
from rethined_export.models.rethined.copying.coarse import CopyCoarse
from rethined_export.models.rethined.copying.config import CopyConfig
from rethined_export.models.rethined.filters import (
    bicubic_upsample,
    cubic_downsample,
    fold,
    gaussian_blur,
    high_frequencies,
    unfold,
)
from rethined_export.models.rethined.reference import Inpainted, Inpainter, whole_scale


class CosineHead(nn.Module):
    """Projections whose results are compared by their angle."""

    def __init__(self, config: CopyConfig) -> None:
        super().__init__()
        self.w_qs = nn.Linear(config.token_size, config.d_k, bias=False)
        self.w_ks = nn.Linear(config.token_size, config.d_k, bias=False)


class CopyInpainter(nn.Module):
    """Parameters of the refinement."""

    def __init__(self, config: CopyConfig) -> None:
        super().__init__()
        self.multihead_attention = CosineHead(config)
        self.pre_attention_norm = nn.LayerNorm(config.token_size)
        self.coherence_layer = nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")


class CopyModel(Inpainter):
    """The forward pass of the repository's ``predict``, but that a photo of 512² is masked too."""

    def __init__(self, config: CopyConfig | None = None) -> None:
        super().__init__()
        self.config = config or CopyConfig()
        self.coarse_model = CopyCoarse(self.config)
        self.inpainter = CopyInpainter(self.config)

    def forward(
        self,
        image: Tensor,
        mask: Tensor,
        top_k: int | None = None,
        indices: Tensor | None = None,
    ) -> Inpainted:
        """Fill the hole; see :class:`Inpainter`. One key a token, whatever lies under the mask.

        Raises:
            ValueError: more than one key is asked for.
        """
        scale = whole_scale(image, mask)
        if top_k not in (None, 1) or (indices is not None and indices.shape[1] != 1):
            raise ValueError("the copying network copies one patch a token: only k = 1 is possible")
        x_low, values, mask_low = self.downsample(image, mask, scale)
        hole = F.max_pool2d(mask_low, PATCH).flatten()
        coarse, features = self.coarse_model(x_low)
        scores = self.scores(coarse, features) + FORBIDDEN * hole[None, :]
        if indices is None:
            indices = scores.argmax(dim=1, keepdim=True)
        source = _sources(indices[:, 0], hole)
        low = self.refine(values, mask_low, source)
        output = low.clamp(0, 1)
        if scale > 1:
            output = self.upscale(image, mask, output, source, scale)
        return Inpainted(output, low, coarse, scores, hole, indices)

    def downsample(self, y: Tensor, m: Tensor, scale: int) -> tuple[Tensor, Tensor, Tensor]:
        """What keys are chosen by, zero in the hole, and copied from, ``[1, 3, 512, 512]``; m_LR.

        Choosing sees the photo blurred first, across the hole's edge as the repository does.
        """
        if scale == 1:
            return y * (1 - m), y, m
        mask_low = m[:, :, ::scale, ::scale]
        matching = cubic_downsample(gaussian_blur(y), scale)
        return matching * (1 - mask_low), cubic_downsample(y, scale), mask_low

    def scores(self, coarse: Tensor, features: list[Tensor]) -> Tensor:
        """Cosines of all queries and keys over the temperature, ``[N, N]``."""
        context = F.interpolate(
            features[self.config.feature_stage],
            size=(GRID, GRID),
            mode="bilinear",
            align_corners=False,
        )
        tokens = torch.cat([unfold(coarse, PATCH), context.flatten(2)[0].T], dim=1)
        tokens = self.inpainter.pre_attention_norm(tokens)
        head = self.inpainter.multihead_attention
        queries, keys = (F.normalize(layer(tokens), dim=1) for layer in (head.w_qs, head.w_ks))
        return queries @ keys.T / self.config.temperature

    def refine(self, values: Tensor, mask_low: Tensor, source: Tensor) -> Tensor:
        """Patches copied and smoothed by the coherence layer: x̂_LR ``[1, 3, 512, 512]``."""
        copied = fold(unfold(values, PATCH)[source], PATCH, LOW_RESOLUTION, LOW_RESOLUTION)
        copied = copied + self.inpainter.coherence_layer(copied)
        return mask_low * copied + (1 - mask_low) * values

    def upscale(self, y: Tensor, m: Tensor, low: Tensor, source: Tensor, scale: int) -> Tensor:
        """High frequencies copied at full resolution, but none between two patches of the hole."""
        base = bicubic_upsample(low, scale)
        patch, side = PATCH * scale, LOW_RESOLUTION * scale
        high = unfold(high_frequencies((1 - m) * y + m * base), patch)[source]
        holed = F.max_pool2d(m, patch).flatten()
        high = high * (1 - holed * holed[source])[:, None]
        return (m * (base + fold(high, patch, side, side)) + (1 - m) * y).clamp(0, 1)


def _sources(chosen: Tensor, hole: Tensor) -> Tensor:
    """Which token each one copies, ``[N]``: known ones themselves, all if none is known."""
    own = torch.arange(len(hole))
    return own if hole.all() else torch.where(hole > 0, chosen, own)
