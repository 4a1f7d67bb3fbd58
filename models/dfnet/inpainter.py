"""DFNet as a function of an image and a mask."""

import torch
from torch import Tensor, nn

from rethined_export.models.dfnet.model import DfNet


def native_input(image: Tensor, mask: Tensor) -> Tensor:
    """What the network takes: ``[N, 4, H, W]``, BGR with 0 in the hole, and 1 = known.

    Args:
        image: RGB ``[N, 3, H, W]`` in [0, 1]. mask: ``[N, 1, H, W]``, 1 = hole, 0 = known.
    """
    known = 1 - mask
    return torch.cat([image.flip(1) * known, known], dim=1)


class DfNetInpainter(nn.Module):
    """Image and mask in, image with its hole filled out."""

    def __init__(self, network: DfNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the hole.

        Args:
            image: RGB ``[N, 3, H, W]`` in [0, 1]; what lies in the hole does not matter.
            mask: ``[N, 1, H, W]``, 1 = hole, 0 = known.

        Returns:
            ``[N, 3, H, W]``; known pixels exactly as they came: each is a product with 1, plus 0.
        """
        painted = self.network(native_input(image, mask))[0].result.flip(1)
        return image * (1 - mask) + painted * mask
