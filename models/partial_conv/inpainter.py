"""The partial convolution network as a function of an image and a mask."""

import torch
from torch import Tensor, nn

#: Of ImageNet's colours in [0, 1], red, green and blue.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Inpainter(nn.Module):
    """Image and mask in, image with its hole filled out.

    Args:
        network: as :class:`~rethined_export.models.partial_conv.PartialConvNet` is called.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the hole.

        Args:
            image: RGB ``[B, 3, H, W]`` in [0, 1]; what lies in the hole does not matter.
            mask: ``[B, 1, H, W]``, 1 = hole, 0 = known.

        Returns:
            RGB ``[B, 3, H, W]``, about [0, 1] but unbounded in the hole; known pixels exactly as
            they came.
        """
        known = 1 - mask
        painted, _ = self.network((image - self.mean) / self.std, known)
        return image * known + painted * (self.std * mask) + self.mean * mask
