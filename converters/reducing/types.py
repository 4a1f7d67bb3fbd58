"""What the pipeline tells a target of the precision an artifact is to have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rethined_export.converters.types import Array

#: Inputs of a program by name, images ``[1, C, H, W]``.
Sample = dict[str, Array]


@dataclass(frozen=True)
class Precision:
    """One precision.

    Attributes:
        means: one line for ``--help``.
        calibrated: ranges of activations are measured on photos.
        rounded: all weights are fitted to the values that are stored, on photos too.
        palette: bits of a place in a tensor's palette; 0: stored are steps of 8 bits.
        searched: so is which layers bear 8 bits worst: those compute in floats.
        stores_all: those too store their weights in 8 bits; else in float16.
    """

    name: str
    means: str
    calibrated: bool = False
    rounded: bool = False
    palette: int = 0
    searched: bool = False
    stores_all: bool = False

    @property
    def sees_photos(self) -> bool:
        """Whether photos have a say in what is written."""
        return self.calibrated or self.rounded


EXACT = "fp32"
PRECISIONS = {
    made.name: made
    for made in (
        Precision(EXACT, "as trained"),
        Precision("fp16", "half the size; what GPUs and Neural Engines compute in"),
        Precision(
            "int8",
            "weights and activations of convolutions in 8 bits",
            calibrated=True,
            rounded=True,
            searched=True,
            stores_all=True,
        ),
        Precision(
            "int8-dynamic",
            "the same, activations measured anew in each run",
            rounded=True,
            searched=True,
            stores_all=True,
        ),
        Precision("int8-weights", "weights in 8 bits, arithmetic in floats", rounded=True),
        Precision(
            "mixed",
            "int8, the layers that bear it worst in floats, their weights in float16",
            calibrated=True,
            searched=True,
        ),
        Precision("palette6", "weights as one of 64 values a tensor", rounded=True, palette=6),
        Precision("palette4", "weights as one of 16 values a tensor", rounded=True, palette=4),
    )
}
#: Images of a whole artifact, in [0, 1]: of so many levels that those of 8 bits come back exactly.
UNIT = ("image", "mask", "output")
#: How a range is read off the values that an activation took.
METHODS = ("minmax", "percentile", "entropy")


@dataclass(frozen=True)
class Reduction:
    """How an fp32 artifact is to be reduced.

    Attributes:
        samples: begins a pass over inputs to measure activations on, where the precision wants it.
        method: one of ``METHODS`` that the target has.
        integer_io: images go in and come out in 8 bits, as the target holds them.
        kept: layers that compute in floats, by the names that :meth:`Reducer.layers` gives.
        threads: to run samples on.
    """

    precision: str
    samples: Callable[[], Iterator[Sample]] = lambda: iter(())
    method: str = METHODS[0]
    integer_io: bool = False
    kept: frozenset[str] = frozenset()
    threads: int = 1

    @property
    def untouched(self) -> frozenset[str]:
        """Layers whose weights are not in 8 bits either."""
        return frozenset() if PRECISIONS[self.precision].stores_all else self.kept


class Reducer(Protocol):
    """One artifact in fp32, ready to be reduced; each module of this package has one."""

    def layers(self) -> tuple[str, ...]:
        """Names of the layers that have weights to quantise, in order of execution."""

    def reduce(self, path: Path, how: Reduction) -> None:
        """Write the reduced artifact; activations are measured once, at the first call."""


class ReducerModule(Protocol):
    """What each module of this package offers."""

    def reducer(self, artifact: Path) -> Reducer:
        """Raises ArtifactError: not an artifact of the target, or a damaged one."""
