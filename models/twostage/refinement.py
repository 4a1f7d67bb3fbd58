"""Stage two: DFNet's U-Net, half as wide again, on twenty channels, with one output."""

from collections.abc import Sequence

from torch import Tensor, nn

from rethined_export.models.dfnet.unet import Convolution, UNet, last

#: Channels: the mask, the filled image, and four shifted copies of it with their masks.
INPUTS = 20
WIDTHS = (96, 192, 384, 512, 512, 512, 512, 512)


class Refinement(UNet):
    """The network; its keys are those of the published checkpoint's ``state_dict``.

    Args:
        widths: channels of the encoders' maps, eight.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        levels = range(1, len(widths) + 1)
        super().__init__(INPUTS, widths, [f"en{n}" for n in levels], [f"de{n}" for n in levels])
        self.last_conv = nn.Sequential(Convolution(INPUTS, 3, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Paint the hole anew.

        Args:
            x: ``[N, 20, H, W]``, see :func:`~rethined_export.models.twostage.refine_input`.

        Returns:
            RGB ``[N, 3, H, W]`` in [0, 1]; known pixels as they came.

        Raises:
            ValueError: sides are no multiples of 256.
        """
        painted = self.last_conv(last(self.levels(x)))
        mask, filled = x[:, :1], x[:, 1:4]
        return mask * painted + (1 - mask) * filled
