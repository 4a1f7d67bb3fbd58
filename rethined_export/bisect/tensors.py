"""The tensors of a run, and how far two of them are apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rethined_export.converters.types import Array
from rethined_export.lint.graph import Graph

#: Tensors up to this many bytes stay in memory; of the others a run can have many gigabytes.
_SMALL = 1 << 16
#: Differences are counted in shares of the larger tensor's largest magnitude, or of this.
_LEAST_SCALE = 1e-6


class Tensors:
    """Values by name, large ones in files.

    Args:
        folder: an empty folder of their own.

    Attributes:
        ranges: of each, its lowest and highest value; both NaN where it is empty.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._small: dict[str, Array] = {}
        self._files: dict[str, Path] = {}
        self.ranges: dict[str, tuple[float, float]] = {}

    def keep(self, name: str, values: Array) -> None:
        """Store a copy."""
        self.ranges[name] = range_of(values)
        if values.nbytes <= _SMALL:
            self._small[name] = np.array(values)
            return
        self._files[name] = self._folder / f"{len(self._files)}.npy"
        np.save(self._files[name], values)

    def __contains__(self, name: str) -> bool:
        return name in self.ranges

    def __getitem__(self, name: str) -> Array:
        small = self._small.get(name)
        if small is not None:
            return small
        values: Array = np.load(self._files[name], mmap_mode="r")
        return values


@dataclass(frozen=True)
class Trace:
    """A run.

    Attributes:
        runtime: what ran it.
        gives: of each output, the name of its value. tensors: by name of their values, constants
            of the file included.
    """

    runtime: str
    graph: Graph
    gives: dict[str, str]
    tensors: Tensors


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
    apart[same] = 0
    apart[np.isnan(apart)] = np.inf
    largest = float(apart.max(initial=0))
    scale = max(_magnitude(one), _magnitude(two), _LEAST_SCALE)
    return Difference(largest, largest / scale, int(np.count_nonzero(~same)), same.size)


def range_of(values: Array) -> tuple[float, float]:
    """Lowest and highest value; NaN where one is, or where there are none."""
    if not values.size:
        return float("nan"), float("nan")
    return float(values.min()), float(values.max())


def _magnitude(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    return float(
        np.abs(values, where=np.isfinite(values), out=np.zeros_like(values)).max(initial=0)
    )
