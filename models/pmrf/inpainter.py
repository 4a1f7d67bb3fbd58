"""The network as a function of an image and a mask."""

import torch
from torch import Tensor, nn

from rethined_export.models.pmrf.priority import Rule, mask_update


def native_input(image: Tensor, mask: Tensor) -> Tensor:
    """What the network takes, as one tensor.

    Args:
        image: RGB in [0, 1], ``[B, 3, H, W]``. mask: ``[B, 1, H, W]``, 1 = hole, 0 = known.

    Returns:
        ``[B, 4, H, W]``: RGB in [-1, 1], 0 in the hole, and 1 = known, 0 = hole.
    """
    known = 1 - mask
    return torch.cat([(2 * image - 1) * known, known], dim=1)


def composite(painted: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """What was painted, in (-1, 1), in the hole, in [0, 1]; the rest exactly as it came."""
    return image * (1 - mask) + (painted * 0.5 + 0.5) * mask


class Inpainter(nn.Module):
    """Image and mask in, image with its hole filled out.

    Args:
        network: as :class:`~rethined_export.models.pmrf.Pmrf` is called.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, mask: Tensor, rule: Rule = mask_update) -> Tensor:
        """Fill the hole.

        Args:
            image: RGB ``[B, 3, H, W]`` in [0, 1]; what lies in the hole does not matter.
            mask: ``[B, 1, H, W]``, 1 = hole, 0 = known.

        Returns:
            RGB ``[B, 3, H, W]`` in [0, 1]; known pixels exactly as they came.
        """
        packed = native_input(image, mask)
        painted, _ = self.network(packed[:, :3], packed[:, 3:], rule)
        return composite(painted, image, mask)
