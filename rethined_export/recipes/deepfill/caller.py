"""What runs DeepFill's native artifacts: a bare network as an inpainter."""

from __future__ import annotations

import numpy as np
import torch

from rethined_export.converters.types import Array, Runner
from rethined_export.models.deepfill import composite, native_input


class NativeRunner:
    """The network's own program as a function from image and mask to image.

    Args:
        bgr: the order of its colours.
    """

    takes = frozenset({"image", "mask"})

    def __init__(self, network: Runner, bgr: bool) -> None:
        self._network, self._bgr, self.name = network, bgr, network.name

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        image, mask = (
            torch.from_numpy(np.asarray(inputs[name], np.float32)) for name in ("image", "mask")
        )
        raw = self._network(input=native_input(image, mask, self._bgr).numpy())["output"]
        painted = torch.from_numpy(np.array(raw, np.float32))
        return {"output": composite(painted, image, mask, self._bgr).numpy()}
