"""From what departs back to where it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rethined_export.lint.graph import Graph


def origin(graph: Graph, departing: Iterable[str], agrees: Callable[[str], bool]) -> int | None:
    """Number of the first operator that departs though all that it reads agrees.

    Args:
        departing: names of values that are wrong.
        agrees: whether the value of a name is right; what no operator writes is taken for right.

    Returns:
        None where no operator writes any of what departs.
    """
    writers = {
        value.name: number
        for number, operator in enumerate(graph.operators)
        for value in operator.outputs
    }
    waiting = [writers[name] for name in departing if name in writers]
    seen: set[int] = set()
    first: int | None = None
    while waiting:
        number = waiting.pop()
        if number in seen:
            continue
        seen.add(number)
        before = [
            writers[value.name]
            for value in graph.operators[number].given
            if value.name in writers and not agrees(value.name)
        ]
        waiting += before
        if not before:
            first = number if first is None else min(first, number)
    return first


def following(graph: Graph, number: int) -> list[int]:
    """Operators that read, directly or through others, what an operator writes; in order."""
    return _reached(graph, number, forward=True)


def preceding(graph: Graph, number: int) -> list[int]:
    """Operators whose results an operator reads, directly or through others; in order."""
    return _reached(graph, number, forward=False)


def _reached(graph: Graph, number: int, *, forward: bool) -> list[int]:
    operators = list(enumerate(graph.operators))
    known = {v.name for v in (graph.operators[number].outputs if forward
                              else graph.operators[number].given)}  # fmt: skip
    found = []
    for place, operator in operators[number + 1 :] if forward else reversed(operators[:number]):
        read, written = ({v.name for v in side} for side in (operator.given, operator.outputs))
        if (read if forward else written) & known:
            known |= written if forward else read
            found.append(place)
    return sorted(found)
