"""The first operator of a run that departs from its reference."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from rethined_export.bisect.difference import Difference, difference
from rethined_export.bisect.origin import origin
from rethined_export.bisect.pairing import Pair, Pairs, by_value
from rethined_export.converters.types import Array
from rethined_export.tracing.tensors import Trace, layouts

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
    right, found = by_value(made, reference, tolerance)
    pairs = right | _outputs_paired(made, reference)
    apart = outputs_apart(made, reference)

    def wrong(gives: dict[str, str], known: Collection[str]) -> list[str]:
        return [
            value
            for name, value in gives.items()
            if not apart.get(name, 0.0 if value in known else _INFINITE) <= tolerance
        ]

    number = origin(made.graph, wrong(made.gives, right), right.__contains__)
    lost = origin(reference.graph, wrong(reference.gives, found), found.__contains__)
    return Found(pairs, number, lost)


def _outputs_paired(made: Trace, reference: Trace) -> Pairs:
    """Outputs that both have by name, however far apart they are."""
    pairs: Pairs = {}
    for name, value in made.gives.items():
        like = reference.gives.get(name)
        if like is not None:
            apart = difference_as_laid_out(made.tensors[value], reference.tensors[like])
            pairs |= {} if apart is None else {value: Pair(like, apart)}
    return pairs


def outputs_apart(made: Trace, reference: Trace) -> dict[str, float]:
    """Relative difference of each output that both have by name; infinite where shapes differ."""
    return {
        name: apart_as_laid_out(made.tensors[value], reference.tensors[reference.gives[name]])
        for name, value in made.gives.items()
        if name in reference.gives
    }


def apart_as_laid_out(one: Array, two: Array) -> float:
    """The relative one of :func:`difference_as_laid_out`; infinite where shapes differ."""
    apart = difference_as_laid_out(one, two)
    return _INFINITE if apart is None else apart.relative


def difference_as_laid_out(one: Array, two: Array) -> Difference | None:
    """Of two tensors either of which may hold its channels last; None where shapes differ."""
    apart = [difference(one, like) for like in layouts(two) if like.shape == one.shape]
    return min(apart, key=lambda each: each.relative, default=None)
