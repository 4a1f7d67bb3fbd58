"""AOT-GAN as a function of an image and a mask."""

import torch
from torch import Tensor, nn


def native_input(image: Tensor, mask: Tensor) -> Tensor:
    """What the generator takes: ``[B, 4, H, W]``, RGB in [-1, 1] with a white hole, and the mask.

    Args:
        image: RGB ``[B, 3, H, W]`` in [0, 1].
        mask: ``[B, 1, H, W]``, 1 = hole, 0 = known.
    """
    return torch.cat([(2 * image - 1) * (1 - mask) + mask, mask], dim=1)


def composite(raw: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """The generator's output in the hole, in [0, 1]; known pixels exactly as they came."""
    return image * (1 - mask) + (raw * 0.5 + 0.5) * mask


class AotGanInpainter(nn.Module):
    """Generator with its input made from, and its output set into, an image."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the hole.

        Args:
            image: RGB ``[B, 3, H, W]`` in [0, 1]; what lies in the hole does not matter.
            mask: ``[B, 1, H, W]``, 1 = hole, 0 = known.

        Returns:
            RGB ``[B, 3, H, W]`` in [0, 1].
        """
        return composite(self.generator(native_input(image, mask)), image, mask)
