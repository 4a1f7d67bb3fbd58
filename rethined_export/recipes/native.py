"""A network's own program, which knows nothing of images and masks, as an inpainter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rethined_export.converters.types import Array, Runner


class NativeRunner:
    """From image and mask to image.

    Args:
        network: takes ``input`` and gives ``output``; what else it gives is passed on.
        prepare: makes the input of image ``[1, 3, H, W]`` and mask ``[1, 1, H, W]``.
        composite: sets what the network gave into the image; called with that, image and mask.
    """

    takes = frozenset({"image", "mask"})

    def __init__(
        self,
        network: Runner,
        prepare: Callable[[Tensor, Tensor], Tensor],
        composite: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> None:
        self._network, self.name = network, network.name
        self._prepare, self._composite = prepare, composite

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        image, mask = (
            torch.from_numpy(np.asarray(inputs[name], np.float32)) for name in ("image", "mask")
        )
        made = self._network(input=self._prepare(image, mask).numpy())
        painted = torch.from_numpy(np.array(made["output"], np.float32))
        return {**made, "output": self._composite(painted, image, mask).numpy()}
