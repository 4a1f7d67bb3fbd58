"""RETHINED (WACV 2025): coarse structure at 512², patches copied at full resolution.

Notation follows the paper: ``y`` image, ``m`` mask (1 = hole), ``x_LR`` masked low-resolution
image, ``B`` blurred, ``F`` high frequencies, ``A`` attention map, ``s`` the scale between the
resolutions.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined.attention import (
    PatchAttention,
    attention_map,
    mask_scores,
    prefer_self,
)
from rethined_export.models.rethined.blend import GAIN, blend
from rethined_export.models.rethined.coarse import CoarseModel
from rethined_export.models.rethined.config import (
    GRID,
    LOW_RESOLUTION,
    PATCH,
    PATCH_SIZE,
    RethinedConfig,
)
from rethined_export.models.rethined.filters import (
    bicubic_downsample,
    bicubic_upsample,
    bilinear_downsample,
    bilinear_upsample,
    fold,
    gaussian_blur,
    high_frequencies,
    unfold,
)
from rethined_export.models.rethined.reference import Inpainted, Inpainter, whole_scale

_SHRINK = {"bicubic": bicubic_downsample, "bilinear": bilinear_downsample}
_ENLARGE = {"bicubic": bicubic_upsample, "bilinear": bilinear_upsample}


class NeuralPatchMatch(nn.Module):
    """Parameters of the refinement: attention projections and the coherence layer."""

    gain: Tensor

    def __init__(self, config: RethinedConfig) -> None:
        super().__init__()
        self.multihead_attention = PatchAttention(config)
        self.final_conv = nn.Sequential()
        if config.coherence:
            coherence = nn.Conv2d(PATCH_SIZE, PATCH_SIZE, 3, padding=1, padding_mode="reflect")
            self.final_conv = nn.Sequential(coherence, nn.Sigmoid())
        if config.blended:
            self.register_buffer("gain", torch.tensor([GAIN]))

    @property
    def coherence(self) -> nn.Conv2d | None:
        """The coherence layer's convolution, if there is such a layer."""
        if not len(self.final_conv):
            return None
        convolution = self.final_conv[0]
        assert isinstance(convolution, nn.Conv2d)
        return convolution


class Rethined(Inpainter):
    """The whole method with dense attention, as the paper writes it."""

    def __init__(self, config: RethinedConfig) -> None:
        super().__init__()
        self.config = config
        self.coarse_model = CoarseModel(config)
        self.generator = NeuralPatchMatch(config)

    def forward(
        self,
        image: Tensor,
        mask: Tensor,
        top_k: int | None = None,
        indices: Tensor | None = None,
    ) -> Inpainted:
        """Fill the hole; see :class:`Inpainter`. Without ``top_k``: the paper's dense softmax."""
        scale = whole_scale(image, mask)
        x_low, mask_low, hole = self.downsample(image, mask, scale)
        coarse, features = self.coarse_model(x_low, mask_low)
        composite = mask_low * coarse + (1 - mask_low) * x_low
        scores = self.scores(composite, mask_low, features, hole)
        limit = self.config.dialect.score_limit
        attention, used = attention_map(scores, hole, top_k, indices, limit)
        low = self.refine(composite, mask_low, hole, attention)
        output = low if scale == 1 else self.upscale(image, mask, low, attention, scale)
        if self.config.dialect.composite:
            output = mask * output + (1 - mask) * image
        return Inpainted(output, low, coarse, scores, hole, used)

    def downsample(self, y: Tensor, m: Tensor, scale: int) -> tuple[Tensor, Tensor, Tensor]:
        """x_LR ``[1, 3, 512, 512]``, m_LR ``[1, 1, 512, 512]`` and token flags ``[N]``."""
        if self.config.variant == "paper":
            m_low = F.max_pool2d(m, scale)
            x_low = F.avg_pool2d(y * (1 - m), scale) * (1 - m_low)
            return x_low, m_low, F.max_pool2d(m_low, PATCH).flatten()
        m_low = F.interpolate(m, size=LOW_RESOLUTION)
        x_low = _SHRINK[self.config.dialect.shrink](y, scale) * (1 - m_low)
        return x_low, m_low, m_low[:, :, ::PATCH, ::PATCH].flatten()

    def scores(
        self, composite: Tensor, mask_low: Tensor, features: list[Tensor], hole: Tensor
    ) -> Tensor:
        """Biased attention scores ``[N, N]``."""
        tokens = self.tokens(composite, features)
        head = self.generator.multihead_attention
        asking, offering = head.alike(composite, mask_low)
        scores = head.scores(tokens, tokens) + asking[0] @ offering[0].T
        scores = mask_scores(scores, hole, self.config.variant)
        if self.config.dialect.score_limit is None:
            return scores
        return prefer_self(scores, hole)

    def tokens(self, composite: Tensor, features: list[Tensor]) -> Tensor:
        """Attention tokens ``unfold(F) ⊕ bilinear(features[k])``, ``[N, token_size]``.

        Without a feature stage, ``unfold(F)`` alone.
        """
        patches = unfold(high_frequencies(composite), PATCH)
        if self.config.feature_stage is None:
            return patches
        context = F.interpolate(
            features[self.config.feature_stage],
            size=(GRID, GRID),
            mode="bilinear",
            align_corners=False,
        )
        return torch.cat([patches, context.flatten(2)[0].T], dim=1)

    def refine(self, composite: Tensor, mask_low: Tensor, hole: Tensor, a: Tensor) -> Tensor:
        """Token mixing and coherence layer: x̂_LR ``[1, 3, 512, 512]``."""
        if self.config.blended:
            return self._blended(composite, mask_low, a)
        blurred = unfold(gaussian_blur(composite), PATCH)
        patches = unfold(composite, PATCH)
        high = patches - blurred
        flag = hole[:, None]
        if self.config.variant == "paper":
            tokens = flag * (blurred + a @ high) + (1 - flag) * patches
            low = self._coherence(tokens)
            return mask_low * low + (1 - mask_low) * composite
        head = self.generator.multihead_attention
        mixed = head.fc(a @ head.w_vs(high))
        return self._coherence(flag * (mixed - blurred) + (1 - flag) * high)

    def _blended(self, composite: Tensor, mask_low: Tensor, a: Tensor) -> Tensor:
        """``x_c + a ⊙ (g·A F − F)``: the coarse image's own details give way to copied ones."""
        own = high_frequencies(composite)
        copied = fold(a @ unfold(own, PATCH), PATCH, LOW_RESOLUTION, LOW_RESOLUTION)
        return composite + blend(mask_low) * (self.generator.gain * copied - own)

    def upscale(self, y: Tensor, m: Tensor, low: Tensor, a: Tensor, scale: int) -> Tensor:
        """Attention upscaling: the patches chosen at low resolution, copied at full resolution.

        The paper copies ``y − gauss(y)``, whose lower half is in x̂_LR already where s = 2, and
        which leaves a gap below it where s > 2; here it is ``y − up(x̂_LR)``, all that x̂_LR lacks.
        """
        dialect = self.config.dialect
        base = _ENLARGE[dialect.enlarge](low, scale)
        patch, side = PATCH * scale, LOW_RESOLUTION * scale
        if self.config.variant == "paper":
            high = (1 - m) * (y - base)
            return m * (base + fold(a @ unfold(high, patch), patch, side, side)) + (1 - m) * y
        high = high_frequencies(y if dialect.context == "full" else y * (1 - m))
        return base + fold(a @ unfold(high, patch), patch, side, side)

    def _coherence(self, tokens: Tensor) -> Tensor:
        """3×3 convolution over the token grid, sigmoid, fold; without the layer, fold alone."""
        grid = tokens.T.reshape(1, PATCH_SIZE, GRID, GRID)
        out = self.generator.final_conv(grid).flatten(2)[0].T
        return fold(out, PATCH, LOW_RESOLUTION, LOW_RESOLUTION)
