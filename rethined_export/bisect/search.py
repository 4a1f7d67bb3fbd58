"""The first operator of a run that departs from its reference."""

from __future__ import annotations

from dataclasses import dataclass

from rethined_export.bisect.difference import difference
from rethined_export.bisect.origin import origin
from rethined_export.bisect.pairing import Pairs, by_value
from rethined_export.converters.types import Array
from rethined_export.tracing.tensors import Trace

#: An input that is within this share of the tolerance is taken for right, where both runs are of
#: one graph in one runtime: what has just begun to depart must not pass for the reference's.
_RIGHT = 0.01
_INFINITE = float("inf")


@dataclass(frozen=True)
class Found:
    """What a search gave.

    Attributes:
        pairs: the reference's like of each tensor that has one, and how far apart they are.
        number: of the operator where the run departs, from 0; None where it does not.
        lost: number of the reference's first operator whose result the run does not have, where
            that was asked.
    """

    pairs: Pairs
    number: int | None
    lost: int | None = None


def first_in_line(made: Trace, pairs: Pairs, tolerance: float) -> Found:
    """Of a run whose tensors are paired by position."""

    def agrees(name: str) -> bool:
        pair = pairs.get(name)
        return pair is not None and pair.apart.relative <= _RIGHT * tolerance

    for operator in made.graph.operators:
        for value in operator.outputs:
            pair = pairs.get(value.name)
            if pair is not None and not pair.apart.relative <= tolerance:
                return Found(pairs, origin(made.graph, [value.name], agrees))
    return Found(pairs, None)


def first_by_value(made: Trace, reference: Trace, tolerance: float) -> Found:
    """Of a run and one of another graph: what makes wrong outputs of right tensors.

    A tensor is right where any of the reference's has its values. Outputs are compared by name, and
    by value where the reference has none of that name.
    """
    pairs, found = by_value(made, reference, tolerance)
    apart = outputs_apart(made, reference)

    def wrong(gives: dict[str, str], right: frozenset[str]) -> list[str]:
        return [
            value
            for name, value in gives.items()
            if not apart.get(name, 0.0 if value in right else _INFINITE) <= tolerance
        ]

    departing = wrong(made.gives, frozenset(pairs))
    number = origin(made.graph, departing, pairs.__contains__)
    missed = wrong(reference.gives, found)
    lost = origin(reference.graph, missed, found.__contains__)
    return Found(pairs, number, lost)


def outputs_apart(made: Trace, reference: Trace) -> dict[str, float]:
    """Relative difference of each output that both have by name."""
    return {
        name: apart_as_laid_out(made.tensors[value], reference.tensors[reference.gives[name]])
        for name, value in made.gives.items()
        if name in reference.gives
    }


def apart_as_laid_out(one: Array, two: Array) -> float:
    """Relative difference; either may hold its channels last. Infinite where shapes differ."""
    layouts = [two]
    if two.ndim == 4:
        layouts += [two.transpose(0, 2, 3, 1), two.transpose(0, 3, 1, 2)]
    apart = [difference(one, like).relative for like in layouts if like.shape == one.shape]
    return min(apart, default=_INFINITE)
