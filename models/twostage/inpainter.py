"""Both stages as a function of an image and a mask.

"Deep Two-Stage High-Resolution Image Inpainting", arXiv 2104.13464.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from rethined_export.models.dfnet import DfNet
from rethined_export.models.dfnet.model import WIDTHS as COARSE_WIDTHS
from rethined_export.models.twostage.glue import (
    coarse_input,
    coarse_result,
    enlarged,
    refine_input,
)
from rethined_export.models.twostage.refinement import WIDTHS, Refinement


class TwoStageNetworks(nn.Module):
    """The two networks; each has weights in a file of its own.

    Args:
        coarse, refine: channels of the encoders' maps, eight each.
    """

    def __init__(
        self, coarse: Sequence[int] = COARSE_WIDTHS, refine: Sequence[int] = WIDTHS
    ) -> None:
        super().__init__()
        self.coarse, self.refine = DfNet(coarse), Refinement(refine)


class TwoStageInpainter(nn.Module):
    """Image and mask in, image with its hole filled out."""

    def __init__(self, networks: TwoStageNetworks) -> None:
        super().__init__()
        self.networks = networks

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the hole.

        Args:
            image: RGB ``[N, 3, H, W]`` in [0, 1], H and W multiples of 256; what lies in the hole
                does not matter.
            mask: ``[N, 1, H, W]``, 1 = hole, 0 = known.

        Returns:
            ``[N, 3, H, W]``; known pixels exactly as they came: each is a product with 1, plus 0.
        """
        height, width = image.shape[2:]
        x = coarse_input(image, mask)
        low = coarse_result(x, self.networks.coarse(x)[0].result, height, width)
        return self.networks.refine(refine_input(enlarged(low, image, mask), mask))
