"""The program that is exported: the reference model, rewritten operator by operator."""

import copy
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined import GRID, LOW_RESOLUTION, PATCH, Rethined
from rethined_export.models.rethined.attention import FORBIDDEN
from rethined_export.models.rethined.config import PATCH_SIZE, TOKENS
from rethined_export.recipes.rethined.low import (
    Look,
    LowResolution,
    all_scores,
    mass_kept,
    softmax,
)
from rethined_export.rewrite.antialias import AntialiasedDownsample
from rethined_export.rewrite.bicubic import BicubicUpsample
from rethined_export.rewrite.gather import PatchGather
from rethined_export.rewrite.mixing import dense_mix
from rethined_export.rewrite.tokens import Strongest, forbid_self, spread_flags, unfold_grid

Whole = Literal["gather", "dense"]


@dataclass(frozen=True)
class Scene:
    """What the program knows before it chooses patches.

    Attributes:
        look: the low-resolution image and what was read off it.
        mask_low: m_LR ``[1, 1, 512, 512]``.
        hole: token flags ``[1, 1, 64, 64]``.
        scores: biased attention scores ``[1, 1, N, N]``.
    """

    look: Look
    mask_low: Tensor
    hole: Tensor
    scores: Tensor


def joint_values(model: Rethined) -> nn.Conv2d:
    """The published variant's value and output projections as one 1×1 convolution of tokens."""
    head = model.generator.multihead_attention
    values = nn.Conv2d(PATCH_SIZE, PATCH_SIZE, 1, bias=False)
    joined = head.fc.weight.double() @ head.w_vs.weight.double()
    values.weight.data = joined.float()[:, :, None, None]
    return values


class ExportGraph(LowResolution):
    """RETHINED for one resolution, equal to the reference with the same k.

    Args:
        model: reference in eval mode; it is copied and re-parameterised.
        hr: side of the image, 512·s.
        upscale: ``gather`` copies k patches a token, ``dense`` mixes all.
        top_k: keys kept for each query; ``gather`` only.
    """

    def __init__(self, model: Rethined, hr: int, upscale: Whole = "gather", top_k: int = 1):
        super().__init__(model)
        self.coherence = copy.deepcopy(model.generator.final_conv)
        if not self.paper:
            self.values = joint_values(model)
        self.hr, self.scale = hr, hr // LOW_RESOLUTION
        self.upscale, self.top_k = upscale, top_k
        if upscale == "gather":
            self.strongest = Strongest(top_k, TOKENS)
        self.gather_low = PatchGather(PATCH, GRID)
        self.dialect = dialect = model.config.dialect
        self.keeps_known = self.paper or dialect.composite
        if self.scale > 1:
            if dialect.enlarge == "bicubic":
                self.enlarge: nn.Module = BicubicUpsample(self.scale)
            else:
                self.enlarge = nn.Upsample(scale_factor=float(self.scale), mode="bilinear")
            self.gather_high = PatchGather(PATCH * self.scale, GRID)
            if not self.paper:
                self.reduce = AntialiasedDownsample(self.scale, LOW_RESOLUTION, dialect.shrink)
        self.eval().requires_grad_(False)

    @property
    def output_names(self) -> tuple[str, ...]:
        """``output`` and, where patches are gathered, the keys chosen and their scores."""
        return ("output",) if self.upscale == "dense" else ("output", "indices", "scores")

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Fill the hole.

        Args:
            image: RGB ``[1, 3, hr, hr]`` in [0, 1].
            mask: ``[1, 1, hr, hr]``, 1 = hole, 0 = known.

        Returns:
            The image ``[1, 3, hr, hr]``; with ``gather`` also indices int32 ``[1, N, k]`` and their
            attention scores ``[1, N, k]`` (rows of known tokens carry no meaning).
        """
        scene = self.describe(image, mask)
        if self.upscale == "dense":
            attention = softmax(scene.scores, 3, self.dialect.score_limit)
            low = self.refine(scene, dense_mix(scene.look.high, attention[0, 0], PATCH))
            return (self.finish(image, mask, scene, low, attention=attention),)
        scores, indices = self.strongest(scene.scores)
        return (self.complete(image, mask, scene, indices, scores), indices, scores)

    def describe(self, image: Tensor, mask: Tensor) -> Scene:
        """Everything up to the attention scores."""
        x_low, mask_low, hole = self._shrink(image, mask)
        look = self.look(x_low, mask_low)
        scores = all_scores(look)
        if not self.paper:
            scores = scores + self._bias(hole.reshape(1, 1, 1, TOKENS))
        return Scene(look, mask_low, hole, scores)

    def mass_kept(self, scene: Scene, indices: Tensor) -> float:
        """Mean share of hole tokens' attention on the keys int32 ``[1, N, k]``; 1 for ``dense``."""
        if self.upscale == "dense":
            return 1.0
        return mass_kept(scene.scores, indices, scene.hole, self.dialect.score_limit)

    def complete(
        self, image: Tensor, mask: Tensor, scene: Scene, indices: Tensor, scores: Tensor
    ) -> Tensor:
        """Everything after the keys are chosen: the image ``[1, 3, hr, hr]``."""
        weights = softmax(scores, 2, self.dialect.score_limit) if self.top_k > 1 else None
        low = self.refine(scene, self.gather_low(scene.look.high, indices, weights))
        return self.finish(image, mask, scene, low, indices=indices, weights=weights)

    def refine(self, scene: Scene, mixed: Tensor) -> Tensor:
        """Mixed tokens in their places, coherence layer over them: x̂_LR ``[1, 3, 512, 512]``."""
        look = scene.look
        if self.paper and not self.config.coherence:
            return self.blend(look.composite, look.high, mixed, look.shares)
        flag = spread_flags(scene.hole, PATCH)
        if self.paper:
            tokens = flag * (look.blurred + mixed) + (1 - flag) * look.composite
            low = self._cohere(unfold_grid(tokens, PATCH))
            return scene.mask_low * low + (1 - scene.mask_low) * look.composite
        mixed = F.pixel_shuffle(self.values(unfold_grid(mixed, PATCH)), PATCH)
        tokens = flag * (mixed - look.blurred) + (1 - flag) * look.high
        return self._cohere(unfold_grid(tokens, PATCH))

    def finish(
        self,
        image: Tensor,
        mask: Tensor,
        scene: Scene,
        low: Tensor,
        *,
        attention: Tensor | None = None,
        indices: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Attention upscaling at full resolution; the low-resolution result where s = 1."""
        if self.scale == 1:
            return self._composite(image, mask, low)
        base = self.enlarge(low)
        known = image * (1 - mask)
        if self.paper:
            high = known - (1 - mask) * base
        else:
            context = image if self.dialect.context == "full" else known
            high = context - self.blur(context)
        patch = PATCH * self.scale
        if indices is None:
            assert attention is not None
            mixed = dense_mix(high, attention[0, 0], patch)
        else:
            mixed = self.gather_high(high, indices, weights)
        if self.paper:
            return mask * (base + mixed) + known
        if self.dialect.score_limit is None:
            flag = spread_flags(scene.hole, patch)
            mixed = flag * mixed + (1 - flag) * high
        return self._composite(image, mask, base + mixed)

    def _composite(self, image: Tensor, mask: Tensor, filled: Tensor) -> Tensor:
        """Known pixels back as they came, where the dialect does so."""
        return mask * filled + (1 - mask) * image if self.dialect.composite else filled

    def _bias(self, flags: Tensor) -> Tensor:
        """What the published variant adds to the scores, for flags ``[1, 1, 1, N]``."""
        if self.dialect.score_limit is None:
            return forbid_self(flags, FORBIDDEN)
        # Known tokens ask too, and prefer themselves.
        return forbid_self(2 * flags - 1, FORBIDDEN)

    def _shrink(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x_LR with whatever lies in its hole, m_LR and token flags ``[1, 1, 64, 64]``."""
        if self.paper:
            mask_low = F.max_pool2d(mask, self.scale, self.scale) if self.scale > 1 else mask
            # Cutting the hole out of the large image would change only pixels that m_LR cuts out.
            x_low = F.avg_pool2d(image, self.scale, self.scale) if self.scale > 1 else image
            return x_low, mask_low, F.max_pool2d(mask_low, PATCH, PATCH)
        mask_low = mask[:, :, :: self.scale, :: self.scale] if self.scale > 1 else mask
        x_low = self.reduce(image) if self.scale > 1 else image
        return x_low, mask_low, mask_low[:, :, ::PATCH, ::PATCH]

    def _cohere(self, tokens: Tensor) -> Tensor:
        return F.pixel_shuffle(self.coherence(tokens), PATCH)
