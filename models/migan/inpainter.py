"""MI-GAN as a function of an image and a mask."""

import torch
from torch import Tensor, nn

from rethined_export.models.migan.model import MiGan


def native_input(image: Tensor, mask: Tensor) -> Tensor:
    """What the generator takes: ``[N, 4, R, R]``, the mask as known − 0.5 before RGB in [−1, 1].

    Args:
        image: RGB ``[N, 3, R, R]`` in [0, 1].
        mask: ``[N, 1, R, R]``, 1 = hole, 0 = known.
    """
    known = 1 - mask
    return torch.cat([known - 0.5, (2 * image - 1) * known], dim=1)


def composite(raw: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """The generator's output in the hole, limited to [0, 1]; known pixels exactly as they came."""
    painted = torch.clamp(raw * 0.5 + 0.5, 0, 1)
    return mask * painted + (1 - mask) * image


class MiGanInpainter(nn.Module):
    """Generator with its input made from, and its output set into, an image."""

    def __init__(self, generator: MiGan) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the hole.

        Args:
            image: RGB ``[N, 3, R, R]`` in [0, 1]; pixels in the hole do not matter.
            mask: ``[N, 1, R, R]``, 1 = hole, 0 = known.

        Returns:
            RGB ``[N, 3, R, R]`` in [0, 1].
        """
        return composite(self.generator(native_input(image, mask)), image, mask)
