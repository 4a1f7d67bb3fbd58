"""What does not fit into float16, why, and what helps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rethined_export.lint.graph import Graph, Operator
from rethined_export.ranges.float16 import LARGEST, MARGIN, ROUNDS_TO_ZERO, SMALLEST_NORMAL
from rethined_export.ranges.inside import DIVISOR, PRODUCTS, SQUARES, SUM
from rethined_export.ranges.measuring import Interval, Measured

OVERFLOWS, NEAR, VANISHES = "overflows", "near", "vanishes"
_FP32 = "or keep it in float32"
_FIX = {
    "result": f"scale what it is made of by a power of two and undo that behind it, {_FP32}",
    SUM: f"divide before it sums, rows first and columns then, {_FP32}",
    SQUARES: f"divide by the root of their number before they are squared, {_FP32}",
    PRODUCTS: f"scale one factor down before the product, {_FP32}",
    DIVISOR: f"scale both sides up, bound the divisor by 1e-4 or more, {_FP32}",
    "constant": f"raise it to 1e-4 or more, scale up what it is put to, {_FP32}",
}
#: Kinds to which a tiny constant matters; in others it is one weight of many.
_TOUCHY = (
    "Add", "Sub", "Mul", "Div", "Max", "Min", "Clip", "ADD", "SUB", "MUL", "DIV", "MAXIMUM",
    "MINIMUM", "add", "sub", "mul", "real_div", "maximum", "minimum",
)  # fmt: skip
#: Attributes that hold a small number on purpose.
_EPSILONS = ("epsilon", "alpha")
_WITH_EPSILON = (
    "InstanceNormalization", "LayerNormalization", "instance_norm", "layer_norm", "l2_norm",
    "rsqrt", "inverse", "log", "clip",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One number of one operator.

    Attributes:
        number: of the operator, from 1.
        what: its ``result``, what it holds within itself, or a ``constant``.
        magnitude: the largest, or of divisors and constants the smallest.
        verdict: ``overflows``, ``near`` (within a factor of 4), or ``vanishes``.
    """

    number: int
    operator: str
    name: str
    what: str
    magnitude: float
    verdict: str
    why: str
    instead: str

    def to_dict(self) -> dict[str, Any]:
        """By name."""
        return asdict(self)


def findings(graph: Graph, measured: Measured) -> list[Finding]:
    """All of a graph, in its order."""
    computed = {v.name for one in graph.operators for v in one.outputs}
    found = []
    for number, operator in enumerate(graph.operators):
        within = measured.within.get(number, {})
        told = [
            _result(operator, measured.tensors),
            *(_within(what, magnitude) for what, magnitude in within.items()),
            _constant(operator, measured.tensors, computed),
        ]
        found += [
            Finding(number + 1, operator.kind, operator.name, *one, _FIX[one[0]])
            for one in told
            if one is not None
        ]
    return found


#: What, magnitude, verdict, why.
_Told = tuple[str, float, str, str]


def largest(interval: Interval | None) -> float:
    """Magnitude of an interval; infinite for NaN, 0 for None."""
    if interval is None:
        return 0.0
    low, high = interval
    return math.inf if low != low or high != high else max(abs(low), abs(high))


def _result(operator: Operator, tensors: Mapping[str, Interval]) -> _Told | None:
    """Named where it arises, and not at every operator that only passes it on."""
    made = [value for value in operator.outputs if value.dtype.startswith("float")]
    magnitude = max((largest(tensors.get(value.name)) for value in made), default=0.0)
    read = max((largest(tensors.get(v.name)) for v in operator.given if not v.constant), default=0)
    if magnitude <= LARGEST / MARGIN or (read >= magnitude and read > LARGEST / MARGIN):
        return None
    if magnitude > LARGEST:
        return "result", magnitude, OVERFLOWS, f"float16 ends at {LARGEST:.0f}"
    return "result", magnitude, NEAR, f"other photos may pass {LARGEST:.0f}"


def _within(what: str, magnitude: float) -> _Told | None:
    if what == DIVISOR:
        if magnitude >= SMALLEST_NORMAL:
            return None
        return what, magnitude, VANISHES, f"{_small(magnitude)}, and is divided by"
    if what == PRODUCTS:
        if magnitude <= LARGEST:
            return None
        return what, magnitude, NEAR, "may pass 65504 on the way where sums are kept in float16"
    if magnitude <= LARGEST / MARGIN:
        return None
    if magnitude > LARGEST:
        return what, magnitude, OVERFLOWS, f"passes {LARGEST:.0f} where it is kept in float16"
    return what, magnitude, NEAR, f"other photos may pass {LARGEST:.0f}"


def _constant(
    operator: Operator, tensors: Mapping[str, Interval], computed: set[str]
) -> _Told | None:
    """A stored number, or one of the operator's own, that float16 loses."""
    held: list[float] = []
    if operator.kind in _TOUCHY:
        stored = [v for v in operator.given if v.name in tensors and v.name not in computed]
        held += [largest(tensors[v.name]) for v in stored if v.constant]
    if operator.kind in _WITH_EPSILON:
        held += [abs(float(operator.attributes.get(name, 0.0))) for name in _EPSILONS]
    tiny = [magnitude for magnitude in held if 0 < magnitude < SMALLEST_NORMAL]
    if not tiny:
        return None
    return "constant", min(tiny), VANISHES, _small(min(tiny))


def _small(magnitude: float) -> str:
    if magnitude < ROUNDS_TO_ZERO:
        return "is zero in float16"
    return "is zero where accelerators flush small numbers"
