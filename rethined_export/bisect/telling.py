"""What there is to say of a departure: the operator, its tensors, and how the error grows."""

from __future__ import annotations

from typing import Any

from rethined_export.bisect.difference import Difference, difference
from rethined_export.bisect.origin import following, preceding
from rethined_export.bisect.pairing import Pairs
from rethined_export.lint.graph import Operator, Value
from rethined_export.tracing.tensors import Trace

#: Rows of the error's growth before the first departure, and from it on.
_BEFORE, _AFTER = 4, 10


def told(made: Trace, reference: Trace, pairs: Pairs, number: int) -> dict[str, Any]:
    """A departure as ``--json`` prints it; numbers of operators are from 1.

    ``range`` is a tensor's lowest and highest value, ``relative_difference`` how far it is from the
    reference's in shares of the largest magnitude; both are None where there is nothing to compare.
    """
    operator = made.graph.operators[number]
    stored = _stored(operator, reference, pairs)

    def tensor(value: Value) -> dict[str, Any]:
        like = pairs[value.name].reference if value.name in pairs else stored.get(value.name)
        apart = _apart(made, value.name, reference, like)
        return {
            "name": value.name,
            "shape": value.shape,
            "stored": value.constant,
            "range": made.tensors.ranges.get(value.name),
            "reference_range": like and reference.tensors.ranges.get(like),
            "relative_difference": apart and apart.relative,
            "elements_that_differ": apart and apart.elements,
            "elements": apart and apart.of,
        }

    return {
        "number": number + 1,
        "operators": len(made.graph.operators),
        "operator": operator.kind,
        "name": operator.name,
        "inputs": [tensor(value) for value in operator.given if value.name in made.tensors],
        "outputs": [tensor(value) for value in operator.outputs],
        "growth": _growth(made, pairs, number),
    }


def _stored(operator: Operator, reference: Trace, pairs: Pairs) -> dict[str, str]:
    """What the reference's operator has in the places of what is stored in the file."""
    likes = {pairs[value.name].reference for value in operator.outputs if value.name in pairs}
    for other in reference.graph.operators:
        if likes & {value.name for value in other.outputs}:
            places = zip(operator.inputs, other.inputs, strict=False)
            return {one.name: two.name for one, two in places if one and two and one.constant}
    return {}


def _apart(made: Trace, name: str, reference: Trace, like: str | None) -> Difference | None:
    if like is None or name not in made.tensors or like not in reference.tensors:
        return None
    one, two = made.tensors[name], reference.tensors[like]
    return difference(one, two) if one.shape == two.shape else None


def _growth(made: Trace, pairs: Pairs, number: int) -> list[dict[str, Any]]:
    """Relative differences before the departure, at it and behind it."""

    def rows(numbers: list[int]) -> list[dict[str, Any]]:
        listed = []
        for place in numbers:
            operator = made.graph.operators[place]
            apart = [pairs[v.name].apart.relative for v in operator.outputs if v.name in pairs]
            if apart:
                listed.append(
                    {
                        "number": place + 1,
                        "operator": operator.kind,
                        "name": operator.name,
                        "relative_difference": max(apart),
                    }
                )
        return listed

    behind = rows([number, *following(made.graph, number)])
    return [*rows(preceding(made.graph, number))[-_BEFORE:], *_thinned(behind)]


def _thinned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first and the last, and some evenly between."""
    if len(rows) <= _AFTER:
        return rows
    return [rows[round(place * (len(rows) - 1) / (_AFTER - 1))] for place in range(_AFTER)]
