"""What lies around the partial convolution network: its colours, and holes that it cannot fill."""

from __future__ import annotations

import numpy as np
import torch

from rethined_export.converters.types import Array, Runner
from rethined_export.errors import UserError
from rethined_export.models.partial_conv import MEAN, STD, PartialConvConfig, reached
from rethined_export.recipes.types import Bools


def unreached(config: PartialConvConfig, hole: Bools) -> int:
    """Pixels of a hole ``[H, W]`` that no known pixel reaches through the network's windows."""
    known = torch.from_numpy(~hole).float()[None, None]
    return int((reached(config, known) == 0).sum())


class ReachingRunner:
    """An inpainter that refuses holes in which it would leave the mean colour."""

    takes = frozenset({"image", "mask"})

    def __init__(self, inpainter: Runner, config: PartialConvConfig) -> None:
        self._inpainter, self._config, self.name = inpainter, config, inpainter.name

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """Fill the hole.

        Raises:
            UserError: part of it is out of reach.
        """
        hole = np.asarray(inputs["mask"])[0, 0] > 0
        if left := unreached(self._config, hole):
            height, width = hole.shape
            raise UserError(
                f"partial convolution paints from known pixels, and {left} of the hole's "
                f"{int(hole.sum())} at {width}x{height} are out of their reach; use a smaller "
                f"hole, or an artifact of --size {self._config.multiple}"
            )
        return self._inpainter(**inputs)


class NativeRunner:
    """The network's own program as a function from image and mask to image."""

    takes = frozenset({"image", "mask"})

    def __init__(self, network: Runner) -> None:
        self._network, self.name = network, network.name

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        image, mask = (np.asarray(inputs[name], np.float32) for name in ("image", "mask"))
        mean, std = (np.array(x, np.float32).reshape(1, 3, 1, 1) for x in (MEAN, STD))
        known = 1 - mask
        painted = self._network(input=(image - mean) / std, known=known)["output"]
        return {
            "output": image * known + np.asarray(painted, np.float32) * (std * mask) + mean * mask
        }
