"""What lies around the context encoder: its input and paste, and holes where it does not paint."""

from __future__ import annotations

import numpy as np
import torch

from rethined_export.converters.types import Array, Runner
from rethined_export.errors import UserError
from rethined_export.models.context_encoder import (
    CENTRE,
    SIDE,
    composite,
    in_centre,
    native_input,
)


class CentreRunner:
    """An inpainter that refuses holes outside the centre."""

    takes = frozenset({"image", "mask"})

    def __init__(self, inpainter: Runner) -> None:
        self._inpainter, self.name = inpainter, inpainter.name

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """Fill the hole.

        Raises:
            UserError: part of it lies elsewhere.
        """
        mask = np.asarray(inputs["mask"], np.float32)
        if not in_centre(torch.from_numpy(mask)):
            rows, columns = (np.flatnonzero(mask[0, 0].any(axis=axis)) for axis in (1, 0))
            raise UserError(
                f"the context encoder paints the middle {CENTRE}x{CENTRE} of its {SIDE}x{SIDE} "
                f"only, and the hole spans columns {columns[0]} to {columns[-1]} and rows "
                f"{rows[0]} to {rows[-1]} of it; use a hole that touches no border of the photo, "
                "or another model"
            )
        return self._inpainter(**inputs)


class NativeRunner:
    """The network's own program as a function from image and mask to image."""

    takes = frozenset({"image", "mask"})

    def __init__(self, network: Runner) -> None:
        self._network, self.name = network, network.name

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        image, mask = (
            torch.from_numpy(np.asarray(inputs[name], np.float32)) for name in ("image", "mask")
        )
        raw = self._network(input=native_input(image, mask).numpy())["output"]
        return {"output": composite(torch.from_numpy(np.asarray(raw)), image, mask).numpy()}
