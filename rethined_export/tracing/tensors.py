"""The tensors of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rethined_export.converters.types import Array
from rethined_export.lint.graph import Graph
from rethined_export.tracing.types import Recorder

#: Tensors up to this many bytes stay in memory; of the others a run can have many gigabytes.
_SMALL = 1 << 16


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


def traced(recorder: Recorder, inputs: Mapping[str, Array], folder: Path) -> Trace:
    """Run a program and keep all its tensors.

    Args:
        folder: made here, for those that are too large for memory.

    Raises:
        ArtifactError: it cannot be run.
    """
    folder.mkdir()
    tensors = Tensors(folder)
    recorder.record(inputs, tensors.keep)
    for name, values in recorder.constants():
        tensors.keep(name, values)
    return Trace(recorder.runtime, recorder.graph, dict(recorder.gives), tensors)


def layouts(values: Array) -> list[Array]:
    """As they are, and turned from channels first to last and back: other formats hold them so."""
    turned = ((0, 2, 3, 1), (0, 3, 1, 2)) if values.ndim == 4 else ()
    return [values, *(values.transpose(axes) for axes in turned)]


def range_of(values: Array) -> tuple[float, float]:
    """Lowest and highest value; NaN where one is, or where there are none."""
    if not values.size:
        return float("nan"), float("nan")
    return float(values.min()), float(values.max())
