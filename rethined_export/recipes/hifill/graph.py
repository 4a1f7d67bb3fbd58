"""HiFill as it is exported: attention by products of pixels, and patches without folding."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.deepfill.config import AttentionConfig
from rethined_export.models.hifill import HiFill, HiFillInpainter
from rethined_export.models.hifill.attention import FLOOR, usable
from rethined_export.rewrite.contextual import DiagonalMatch
from rethined_export.rewrite.mixing import dense_mix
from rethined_export.rewrite.tokens import unfold_grid


def rewritten(model: HiFill) -> HiFill:
    """Twin of the network.

    Args:
        model: reference in eval mode; it is copied.
    """
    made = copy.deepcopy(model).requires_grad_(False)
    made.add_module("attention", AggregatingAttention(model.config.grid))
    return made.eval()


class AggregatingAttention(nn.Module):
    """Twin of :class:`~rethined_export.models.hifill.ContextualAttention`, one image at a time.

    A pixel of the finer maps is covered by the patches of four positions, wherever it lies in its
    quarter of its own position's part. So all pixels of a quarter are channels of one, and both
    maps become one of two pixels a position, mixed together.

    Args:
        grid: positions along a side.
    """

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.match = DiagonalMatch(AttentionConfig(fuse=True), grid, grid, FLOOR)

    def forward(
        self, x: Tensor, hole: Tensor, second: Tensor, first: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        weights = self.match.weights(x[:, :, ::2, ::2], usable(hole))
        # 3×3 patches at every second pixel overlap on the even ones only.
        mixed = self.match.pasted(x, weights, covers=(-1, 0))
        coarse, fine = unfold_grid(second, 2), unfold_grid(first, 4)
        both = self.match.pasted(torch.cat([coarse, fine], dim=1), weights)
        count = self.grid * self.grid
        return (
            self.match.turned(weights).reshape(1, count, count),
            mixed,
            F.pixel_shuffle(both[:, : coarse.shape[1]], 2),
            F.pixel_shuffle(both[:, coarse.shape[1] :], 4),
        )


class WholeGraph(HiFillInpainter):
    """Twin of the inpainter; residuals are mixed as RETHINED's patches are, where all have a share.

    Args:
        network: in eval mode; it is copied.
    """

    def __init__(self, network: HiFill) -> None:
        super().__init__(rewritten(network), network.config)

    def aggregated(self, residual: Tensor, weights: Tensor, hole: Tensor) -> Tensor:
        """As of the plain one; the cost does not follow the hole."""
        return dense_mix(residual, weights[0], residual.shape[2] // self.config.grid)
