"""What runs DFNet's native artifacts: from image and mask, and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rethined_export.converters.types import Array, Runner

Floats = npt.NDArray[np.float32]


class NativeRunner:
    """The network's own program as a function from image and mask to image."""

    takes = frozenset({"image", "mask"})

    def __init__(self, network: Runner) -> None:
        self._network, self.name = network, network.name

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        image, mask = (np.asarray(inputs[name], np.float32) for name in ("image", "mask"))
        masked = image * (1 - mask)
        return {"output": masked + paint(self._network, masked, mask) * mask}


def paint(network: Runner, masked: Floats, mask: Floats) -> Floats:
    """What the network paints, known pixels too, RGB ``[1, 3, H, W]``.

    Args:
        masked: RGB ``[1, 3, H, W]``, 0 in the hole. mask: ``[1, 1, H, W]``, 1 = hole.
    """
    packed = np.concatenate([masked[:, ::-1], 1 - mask], axis=1)
    return np.asarray(network(input=packed)["output"], np.float32)[:, ::-1]
