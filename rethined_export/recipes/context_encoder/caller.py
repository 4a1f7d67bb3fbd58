"""Holes where the context encoder does not paint."""

from __future__ import annotations

import numpy as np
import torch

from rethined_export.converters.types import Array, Runner
from rethined_export.errors import UserError
from rethined_export.models.context_encoder import CENTRE, SIDE, in_centre


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
