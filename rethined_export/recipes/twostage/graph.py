"""The two-stage system as it is exported: both networks and all that lies between them."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.dfnet.unet import Decode
from rethined_export.models.twostage import (
    Letterbox,
    Refinement,
    TwoStageNetworks,
    enlarged,
    refine_input,
)
from rethined_export.photo.window import Window
from rethined_export.recipes.dfnet.graph import Painter, conv_of, without_norms
from rethined_export.rewrite.choose import ChosenPixels
from rethined_export.rewrite.enlarge import EnlargingConv

#: Decoders, from the last, whose joined maps are too large to make.
_LARGE = 2


class WholeGraph(nn.Module):
    """Twin of :class:`~rethined_export.models.twostage.TwoStageInpainter` for images of one size.

    Args:
        networks: in eval mode; they are copied.
        window: of the image; sides are multiples of 256.
    """

    def __init__(self, networks: TwoStageNetworks, window: Window) -> None:
        super().__init__()
        self.box = Letterbox.of(*window)
        self.shrunk = ChosenPixels(self.box.rows, self.box.columns, *window)
        self.coarse = Painter(networks.coarse, rgb=True)
        self.refine = refining(networks.refine)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Image ``[1, 3, H, W]`` and mask ``[1, 1, H, W]`` → image, its hole filled."""
        masked = image * (1 - mask)
        small = self.shrunk(torch.cat([masked, mask], dim=1))
        square = F.pad(small, self.box.edges)
        hole = square[:, 3:]
        painted = self.coarse(torch.cat([square[:, :3], 1 - hole], dim=1))
        low = self.box.crop(square[:, :3] + painted * hole)
        return self.refine(refine_input(enlarged(low, image, mask), mask))


def refining(network: Refinement) -> Refinement:
    """Twin of a refinement network: norms folded, the last decoders without their joined maps.

    Args:
        network: in eval mode; it is copied.
    """
    made = without_norms(network)
    for name in made.decoders[-_LARGE:]:
        setattr(made, name, _LightDecode(cast(Decode, made.get_submodule(name))))
    return made.eval()


class _LightDecode(nn.Module):
    """Twin of :class:`~rethined_export.models.dfnet.unet.Decode`, its norm folded."""

    def __init__(self, plain: Decode) -> None:
        super().__init__()
        conv = conv_of(plain.decode[0])
        self.conv = EnlargingConv(conv, doubled=conv.in_channels - conv.out_channels)
        self.act = plain.decode[-1]

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.act(self.conv(x, skip))
