"""How far two tensors are apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rethined_export.converters.types import Array

#: Differences are counted in shares of the larger tensor's largest magnitude, or of this.
_LEAST_SCALE = 1e-6


@dataclass(frozen=True)
class Difference:
    """How far two tensors are apart.

    Attributes:
        largest: of all elements; infinite where one has NaN or infinity and the other not.
        relative: in shares of the larger one's largest magnitude.
        elements: that differ at all. of: elements there are.
    """

    largest: float
    relative: float
    elements: int
    of: int


def difference(made: Array, truth: Array) -> Difference:
    """Of two tensors of one shape."""
    one, two = made.astype(np.float64), truth.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.abs(one - two)
    same = (one == two) | (np.isnan(one) & np.isnan(two))
    apart = np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))
    largest = float(apart.max(initial=0))
    scale = max(_magnitude(one), _magnitude(two), _LEAST_SCALE)
    return Difference(largest, largest / scale, int(np.count_nonzero(~same)), same.size)


def _magnitude(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    return float(
        np.abs(values, where=np.isfinite(values), out=np.zeros_like(values)).max(initial=0)
    )
