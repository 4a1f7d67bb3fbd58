"""How large an artifact's numbers get over photos."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rethined_export.converters.types import Array
from rethined_export.ranges.inside import DIVISOR, inside
from rethined_export.tracing.tensors import traced
from rethined_export.tracing.types import Recorder

Interval = tuple[float, float]


@dataclass
class Measured:
    """Figures over all runs.

    Attributes:
        tensors: of each computed or stored tensor, its lowest and highest value.
        within: of each operator by number, what it holds within itself (see
            :func:`~rethined_export.ranges.inside.inside`).
        runs: how many there were.
    """

    tensors: dict[str, Interval] = field(default_factory=dict)
    within: dict[int, dict[str, float]] = field(default_factory=dict)
    runs: int = 0


def measure(recorder: Recorder, inputs: Iterable[Mapping[str, Array]], folder: Path) -> Measured:
    """Run a program on each of several inputs.

    Args:
        folder: an empty one, for tensors of one run at a time.

    Raises:
        ArtifactError: it cannot be run.
    """
    found = Measured()
    for given in inputs:
        run = traced(recorder, given, folder / "run")
        for name, (low, high) in run.tensors.ranges.items():
            before = found.tensors.get(name, (low, high))
            # In this order NaN, which compares as false, stays.
            found.tensors[name] = (_least(low, before[0]), _most(high, before[1]))
        for number, operator in enumerate(recorder.graph.operators):
            held = found.within.setdefault(number, {})
            for kind, value in inside(operator, run.tensors).items():
                worse = min if kind == DIVISOR else max
                held[kind] = worse(held.get(kind, value), value)
        found.runs += 1
        shutil.rmtree(folder / "run")
    return found


def _least(one: float, two: float) -> float:
    return one if one != one or one < two else two


def _most(one: float, two: float) -> float:
    return one if one != one or one > two else two
