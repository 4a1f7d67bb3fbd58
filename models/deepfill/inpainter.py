"""DeepFill as a function of an image and a mask."""

import torch
from torch import Tensor, nn

from rethined_export.models.deepfill.model import Deepfill


def native_input(image: Tensor, mask: Tensor, bgr: bool) -> Tensor:
    """What the network takes: ``[N, 5, H, W]``, colours in [−1, 1] with 0 in the hole, ones, mask.

    Args:
        image: RGB ``[N, 3, H, W]`` in [0, 1].
        mask: ``[N, 1, H, W]``, 1 = hole, 0 = known.
        bgr: turn the colours round.
    """
    known = (2 * _ordered(image, bgr) - 1) * (1 - mask)
    # Ones as torch makes them would be stored in an artifact, a number for each pixel.
    return torch.cat([known, mask.clamp_min(1.0), mask], dim=1)


def composite(raw: Tensor, image: Tensor, mask: Tensor, bgr: bool) -> Tensor:
    """The network's output in the hole; known pixels exactly as they came."""
    painted = _ordered(raw, bgr) * 0.5 + 0.5
    return mask * painted + (1 - mask) * image


def _ordered(x: Tensor, bgr: bool) -> Tensor:
    return torch.cat([x[:, 2:3], x[:, 1:2], x[:, 0:1]], dim=1) if bgr else x


class DeepfillInpainter(nn.Module):
    """Generator with its input made from, and its output set into, an image."""

    def __init__(self, network: Deepfill) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the hole.

        Args:
            image: RGB ``[N, 3, H, W]`` in [0, 1]; pixels in the hole do not matter.
            mask: ``[N, 1, H, W]``, 1 = hole, 0 = known.

        Returns:
            RGB ``[N, 3, H, W]`` in [0, 1].
        """
        bgr = self.network.config.bgr
        return composite(self.network(native_input(image, mask, bgr)), image, mask, bgr)
