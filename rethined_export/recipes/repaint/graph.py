"""One step of RePaint as it is exported: all that depends on the level alone stands in a table."""

import torch
from torch import Tensor, nn

from rethined_export.models.repaint import (
    RepaintStep,
    RepaintUNet,
    Stepped,
    mixed,
    stepped,
    waves,
)


class StepGraph(nn.Module):
    """Twin of :class:`RepaintStep`, for one image.

    A level's row is its product with 1 and all others' with 0, summed, which is exact: indices
    would have to be integers. The waves that tell the network the time are looked up with it, for
    runtimes differ in the cosine of large angles, and in float16 there is none of them.

    Args:
        plain: in eval mode; its network is used as it is.
    """

    rows: Tensor
    levels: Tensor

    def __init__(self, plain: RepaintStep) -> None:
        super().__init__()
        self.network = plain.network
        told = waves(plain.times, self.network.config.width)
        rows = torch.cat([plain.table, told], dim=1)
        self._columns = plain.table.shape[1]
        self.register_buffer("rows", rows, persistent=False)
        levels = torch.arange(len(rows), dtype=torch.float32)
        self.register_buffer("levels", levels[:, None], persistent=False)

    def forward(
        self, x: Tensor, t: Tensor, image: Tensor, mask: Tensor, known_noise: Tensor, noise: Tensor
    ) -> Stepped:
        """As the plain one; ``t`` is ``[1]``."""
        chosen = torch.relu(1 - torch.abs(self.levels - t))
        found = (self.rows * chosen).sum(0, keepdim=True)
        row, time = found[:, : self._columns, None, None], found[:, self._columns :]
        x = mixed(x, row, image, mask, known_noise)
        return stepped(x, row, self.network.of_waves(x, time), noise)


class NetworkGraph(nn.Module):
    """The network alone: ``[1, 3, H, W]`` and time ``[1]`` → ``[1, 6, H, W]``."""

    def __init__(self, network: RepaintUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, input: Tensor, time: Tensor) -> Tensor:
        return self.network(input, time)
