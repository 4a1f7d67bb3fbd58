"""The copying network's program: one patch of the photo for each hole token, by cosine."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined import GRID, LOW_RESOLUTION, PATCH, reparameterise
from rethined_export.models.rethined.attention import FORBIDDEN
from rethined_export.models.rethined.config import TOKENS
from rethined_export.models.rethined.copying import CopyModel
from rethined_export.recipes.rethined.low import to_grid
from rethined_export.rewrite.bicubic import BicubicUpsample
from rethined_export.rewrite.blur import SeparableBlur
from rethined_export.rewrite.gather import PatchGather
from rethined_export.rewrite.reduce import CubicDownsample
from rethined_export.rewrite.tokens import Strongest, spread_flags, unfold_grid

#: Least length that a query or key is divided by, as torch's own normalisation has it.
_LEAST = 1e-12


@dataclass(frozen=True)
class CopyScene:
    """What the program knows before it chooses patches.

    Attributes:
        values: the photo at low resolution ``[1, 3, 512, 512]``, which patches are copied from.
        mask_low: m_LR ``[1, 1, 512, 512]``.
        hole: token flags ``[1, 1, 64, 64]``.
        scores: biased attention scores ``[1, 1, N, N]``.
    """

    values: Tensor
    mask_low: Tensor
    hole: Tensor
    scores: Tensor


class CopyGraph(nn.Module):
    """The copying network for one resolution, equal to the reference.

    Args:
        model: reference in eval mode; it is copied and re-parameterised.
        hr: side of the image, 512·s, s = 1 or even.

    Raises:
        ValueError: an odd s.
    """

    upscale = "gather"
    top_k = 1
    #: Known pixels come out as they came in, if they lie in [0, 1].
    keeps_known = True
    output_names = ("output", "indices", "scores")

    def __init__(self, model: CopyModel, hr: int) -> None:
        super().__init__()
        model = copy.deepcopy(model)
        reparameterise(model)
        self.config = model.config
        self.hr, self.scale = hr, hr // LOW_RESOLUTION
        self.coarse_model = model.coarse_model
        self.norm = model.inpainter.pre_attention_norm
        head = model.inpainter.multihead_attention
        self.queries, self.keys = _as_convolution(head.w_qs), _as_convolution(head.w_ks)
        self.coherence = model.inpainter.coherence_layer
        self.strongest = Strongest(1, TOKENS)
        self.gather_low = PatchGather(PATCH, GRID)
        if self.scale > 1:
            self.blur = SeparableBlur()
            self.reduce = CubicDownsample(self.scale)
            self.enlarge = BicubicUpsample(self.scale)
            self.gather_high = PatchGather(PATCH * self.scale, GRID)
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Fill the hole.

        Args:
            image: RGB ``[1, 3, hr, hr]`` in [0, 1]; what lies under the mask reaches over its edge.
            mask: ``[1, 1, hr, hr]``, 1 = hole, 0 = known.

        Returns:
            The image ``[1, 3, hr, hr]``, keys int32 ``[1, N, 1]`` and their scores ``[1, N, 1]``
            (rows of known tokens carry no meaning).
        """
        scene = self.describe(image, mask)
        scores, indices = self.strongest(scene.scores)
        return self.complete(image, mask, scene, indices, scores), indices, scores

    def describe(self, image: Tensor, mask: Tensor) -> CopyScene:
        """Everything up to the scores."""
        values, matching, mask_low = image, image, mask
        if self.scale > 1:
            values, matching = self.reduce(image), self.reduce(self.blur(image))
            mask_low = mask[:, :, :: self.scale, :: self.scale]
        hole = F.max_pool2d(mask_low, PATCH, PATCH)
        coarse, features = self.coarse_model(matching * (1 - mask_low))
        stage = self.config.feature_stage
        tokens = torch.cat([unfold_grid(coarse, PATCH), to_grid(features[stage], stage)], dim=1)
        tokens = self._normalised(tokens)
        queries = _unit(self.queries(tokens)) / self.config.temperature
        keys = _unit(self.keys(tokens))
        scores = torch.matmul(
            queries.reshape(1, 1, -1, TOKENS).transpose(2, 3), keys.reshape(1, 1, -1, TOKENS)
        )
        bias = hole.reshape(1, 1, 1, TOKENS) * FORBIDDEN
        return CopyScene(values, mask_low, hole, scores + bias)

    def mass_kept(self, scene: CopyScene, indices: Tensor) -> float:
        """The network itself keeps one key: nothing is lost."""
        return 1.0

    def complete(
        self, image: Tensor, mask: Tensor, scene: CopyScene, indices: Tensor, scores: Tensor
    ) -> Tensor:
        """Everything after the keys are chosen: the image ``[1, 3, hr, hr]``."""
        some_known = 1 - scene.hole.amin((2, 3), keepdim=True)
        copies = scene.hole * some_known
        flag = spread_flags(copies, PATCH)
        copied = flag * self.gather_low(scene.values, indices, None) + (1 - flag) * scene.values
        copied = copied + self.coherence(copied)
        low = scene.mask_low * copied + (1 - scene.mask_low) * scene.values
        low = low.clamp(0, 1)
        if self.scale == 1:
            return low
        base, known, patch = self.enlarge(low), image * (1 - mask), PATCH * self.scale
        context = known + mask * base
        high = self.gather_high(context - self.blur(context), indices, None)
        # Known tokens that the hole cuts into would copy themselves, and so copy nothing.
        holed = F.max_pool2d(mask, patch, patch).reshape(TOKENS, 1)
        chosen = F.embedding(indices.reshape(-1), holed).reshape(1, 1, GRID, GRID)
        high = high * spread_flags(scene.hole * (1 - chosen), patch)
        return (mask * (base + high) + known).clamp(0, 1)

    def _normalised(self, tokens: Tensor) -> Tensor:
        """Layer norm over the channels of ``[1, C, 64, 64]``."""
        centred = tokens - tokens.mean(1, keepdim=True)
        spread = torch.sqrt((centred * centred).mean(1, keepdim=True) + self.norm.eps)
        weight, bias = (x.reshape(1, -1, 1, 1) for x in (self.norm.weight, self.norm.bias))
        return centred / spread * weight + bias


def _as_convolution(linear: nn.Linear) -> nn.Conv2d:
    convolution = nn.Conv2d(linear.in_features, linear.out_features, 1, bias=False)
    convolution.weight.data = linear.weight.data[:, :, None, None].clone()
    return convolution


def _unit(x: Tensor) -> Tensor:
    """``[1, C, 64, 64]`` with vectors of length one along the channels."""
    length = torch.sqrt((x * x).sum(1, keepdim=True))
    return x / length.clamp(min=_LEAST)
