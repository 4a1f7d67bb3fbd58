"""The coarse model as it is exported: the same function in operators that runtimes are fast at."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined.coarse import CoarseModel, SeparableUp
from rethined_export.models.rethined.colour import as_colourful
from rethined_export.models.rethined.push_pull import filled
from rethined_export.rewrite.skips import SplitSeparable
from rethined_export.rewrite.wide import Wide


class SplitUp(nn.Module):
    """Twin of a re-parameterised :class:`SeparableUp`."""

    def __init__(self, up: SeparableUp) -> None:
        super().__init__()
        self.reduce = up.reduce
        first = up.reduce.reparam_conv.out_channels
        self.join = SplitSeparable(up.depthwise.reparam_conv, up.pointwise.reparam_conv, first)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """``[1, channels, h, w]`` and ``[1, skip, 2h, 2w]`` → ``[1, out, 2h, 2w]``."""
        x = F.interpolate(self.reduce(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.join(x, skip)


class CoarseGraph(nn.Module):
    """x_c and the encoder's features, equal to the reference's.

    Args:
        model: re-parameterised; its decoder is rewritten in place.
    """

    def __init__(self, model: CoarseModel) -> None:
        super().__init__()
        self.network, self.wide = model, Wide()
        for name, layer in list(model.named_children()):
            if isinstance(layer, SeparableUp):
                setattr(model, name, SplitUp(layer))

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Paint the hole.

        Args:
            image: ``[1, 3, 512, 512]`` in [0, 1]; what lies in the hole is not read.
            mask: m_LR ``[1, 1, 512, 512]``.

        Returns:
            x_c ``[1, 3, 512, 512]``: the coarse image in the hole, the photo elsewhere; and the
            encoder's five features.
        """
        network = self.network
        hole, known = self.wide(mask)
        x = image * known
        if network.start == "zeros":
            features = network.model(x)
            return x + hole * torch.sigmoid(network.decode(features)), features
        fill = filled(x, hole, known)
        features = network.model(torch.cat([fill, mask], dim=1))
        return fill + hole * as_colourful(network.decode(features), x, mask), features
