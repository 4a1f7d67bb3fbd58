"""Cuts a graph into parts that run on one device each, as runtimes do."""

from collections.abc import Sequence

from rethined_export.lint.graph import Operator


def partitions(operators: Sequence[Operator], accelerated: Sequence[bool]) -> list[list[int]]:
    """Numbers of the operators of each part, in the order the parts run.

    A part grows while an operator of its kind has all its inputs, even past operators of the other
    kind that it does not depend on, so operators far apart in the file may share one. This is how
    LiteRT cuts a graph for a delegate.

    Args:
        accelerated: whether the accelerator takes each operator; parts hold one kind or the other.
    """
    writer = {value.name: number for number, one in enumerate(operators) for value in one.outputs}
    needs = [
        {writer[value.name] for value in one.given if value.name in writer} - {number}
        for number, one in enumerate(operators)
    ]
    done: set[int] = set()
    parts: list[list[int]] = []
    while len(done) < len(operators):
        waiting = [number for number in range(len(operators)) if number not in done]
        first = next((number for number in waiting if needs[number] <= done), waiting[0])
        part = _grow(accelerated[first], accelerated, needs, done)
        # A cycle, which no valid file has, would leave nothing to take.
        parts.append(part or [first])
        done.update(parts[-1])
    return parts


def _grow(
    kind: bool, accelerated: Sequence[bool], needs: Sequence[set[int]], done: set[int]
) -> list[int]:
    """Sweeps in the file's order, which is nearly one that can run, until nothing is added."""
    taken: list[int] = []
    reached = set(done)
    before = -1
    while len(taken) > before:
        before = len(taken)
        for number, needed in enumerate(needs):
            if number not in reached and accelerated[number] == kind and needed <= reached:
                taken.append(number)
                reached.add(number)
    return sorted(taken)
