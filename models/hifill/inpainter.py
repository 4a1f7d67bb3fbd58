"""HiFill as a function of an image and a mask: the network at 512, the residuals around it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.hifill.attention import pasted
from rethined_export.models.hifill.config import HiFillConfig
from rethined_export.models.hifill.enlarge import enlarged


def reduced(image: Tensor, mask: Tensor, by: int) -> tuple[Tensor, Tensor]:
    """Means of squares, and which of these have any pixel of hole.

    Args:
        image: ``[B, 3, H, W]``. mask: ``[B, 1, H, W]``, 1 = hole, 0 = known.
        by: side of the squares.
    """
    if by == 1:
        return image, mask
    return F.avg_pool2d(image, by), F.max_pool2d(mask, by)


def native_input(image: Tensor, mask: Tensor) -> Tensor:
    """What the network takes: ``[B, 4, 512, 512]``, BGR in [−1, 1], 0 in the hole; the mask.

    Args:
        image: RGB ``[B, 3, 512, 512]`` in [0, 1]. mask: ``[B, 1, 512, 512]``, 1 = hole, 0 = known.
    """
    return torch.cat([_turned(2 * image - 1) * (1 - mask), mask], dim=1)


def painted(raw: Tensor) -> Tensor:
    """BGR in [−1, 1] → RGB in [0, 1]."""
    return _turned(raw) * 0.5 + 0.5


def _turned(x: Tensor) -> Tensor:
    return torch.cat([x[:, 2:3], x[:, 1:2], x[:, 0:1]], dim=1)


class HiFillInpainter(nn.Module):
    """Generator with its input made from, and its output and the residuals set into, an image.

    A residual is what reduction took from a photo. Cells of the hole get those of the cells that
    they were painted from, in the same shares.

    Args:
        network: maps as :class:`~rethined_export.models.hifill.HiFill`, of this configuration.
    """

    def __init__(self, network: nn.Module, config: HiFillConfig) -> None:
        super().__init__()
        self.network, self.config = network, config

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the hole.

        Args:
            image: RGB ``[B, 3, S, S]`` in [0, 1], S a multiple of 512; pixels in the hole do not
                matter: whatever they are, cells that hold any have no share in others.
            mask: ``[B, 1, S, S]``, 1 = hole, 0 = known.

        Returns:
            RGB ``[B, 3, S, S]`` in [0, 1]; known pixels exactly as they came.

        Raises:
            ValueError: another size.
        """
        by = self.config.scale(image.shape[2], image.shape[3])
        small, hole = reduced(image, mask, by)
        raw, weights = self.network(native_input(small, hole))
        fill = painted(raw)
        if by > 1:
            residual = self.aggregated(image - enlarged(small, by), weights, hole)
            fill = (enlarged(fill, by) + residual).clamp(0.0, 1.0)
        return mask * fill + (1 - mask) * image

    def aggregated(self, residual: Tensor, weights: Tensor, hole: Tensor) -> Tensor:
        """Residuals ``[B, 3, S, S]`` of cells, mixed.

        Args:
            weights: as of the network.
            hole: as the network sees it; what becomes of cells without any is of no consequence.
        """
        side = residual.shape[2] // self.config.grid
        return pasted(weights, residual, patch=side, step=side, before=0)
