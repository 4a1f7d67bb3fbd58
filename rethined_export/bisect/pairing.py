"""Which tensor of one run is which of another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import permutations

import numpy as np

from rethined_export.bisect.difference import Difference, difference
from rethined_export.converters.types import Array
from rethined_export.lint.graph import Operator
from rethined_export.tracing.tensors import Trace

#: Axes of a tensor that are tried in every order.
_MOST_AXES = 5
#: Graphs are called alike where this share of the larger one's operators has a partner.
_ALIKE = 0.5


@dataclass(frozen=True)
class Pair:
    """A tensor of the reference, and how far one of the artifact's is from it."""

    reference: str
    apart: Difference


Pairs = dict[str, Pair]


def by_position(made: Trace, reference: Trace) -> Pairs | None:
    """Pairs of two runs of nearly the same graph; None where the graphs are not alike.

    Operators are paired in order: by kind, name and shapes of their results, where names differ by
    kind and shapes; and one in place of another by shapes. Outputs are paired by name.
    """
    operators = _aligned(made.graph.operators, reference.graph.operators, (_named, _unnamed))
    sizes = len(made.graph.operators), len(reference.graph.operators)
    if len(operators) < _ALIKE * max(sizes):
        return None
    likes = {
        value.name: like.name
        for one, two in operators
        for value, like in zip(one.outputs, two.outputs, strict=True)
    }
    for name, output in made.gives.items():
        if name in reference.gives:
            likes.setdefault(output, reference.gives[name])
    pairs: Pairs = {}
    for name, like in likes.items():
        if name in made.tensors and like in reference.tensors:
            one, two = made.tensors[name], reference.tensors[like]
            if one.shape == two.shape:
                pairs[name] = Pair(like, difference(one, two))
    return pairs


def _named(operator: Operator) -> Hashable:
    return operator.kind, operator.name, _shapes(operator)


def _unnamed(operator: Operator) -> Hashable:
    return operator.kind, _shapes(operator)


def _shapes(operator: Operator) -> Hashable:
    return tuple(value.shape for value in operator.outputs)


def _aligned(
    one: Sequence[Operator],
    two: Sequence[Operator],
    keys: Sequence[Callable[[Operator], Hashable]],
) -> list[tuple[Operator, Operator]]:
    """Pairs in order by the first key; what that leaves, place by place or by the next key."""
    key, *others = keys
    matcher = SequenceMatcher(None, [key(o) for o in one], [key(o) for o in two], autojunk=False)
    found: list[tuple[Operator, Operator]] = []
    for tag, low, high, start, end in matcher.get_opcodes():
        mine, theirs = one[low:high], two[start:end]
        if tag == "equal" or (len(mine) == len(theirs) and _all_shaped(mine, theirs)):
            found += zip(mine, theirs, strict=True)
        elif others:
            found += _aligned(mine, theirs, others)
    return found


def _all_shaped(one: Sequence[Operator], two: Sequence[Operator]) -> bool:
    return all(_shapes(a) == _shapes(b) for a, b in zip(one, two, strict=True))


def by_value(
    made: Trace, reference: Trace, tolerance: float, names: Collection[str] | None = None
) -> tuple[Pairs, frozenset[str]]:
    """For each computed tensor the nearest of the reference's that holds the same values.

    In any order of its axes, since targets lay images out in their own way; with the same elements
    in the same order, whatever the shape.

    Args:
        tolerance: how far apart they may be, as :attr:`Difference.relative` has it.
        names: of the tensors to look for; None: all.

    Returns:
        The pairs, and the names of all of the reference's tensors whose values were found.
    """
    candidates: dict[int, list[str]] = defaultdict(list)
    flowing = {v.name: None for one in reference.graph.operators for v in one.flowing}
    for name in flowing:
        if name in reference.tensors:
            candidates[reference.tensors[name].size].append(name)
    pairs: Pairs = {}
    found: set[str] = set()
    for operator in made.graph.operators:
        for value in operator.outputs:
            if value.name in made.tensors and (names is None or value.name in names):
                named = candidates.get(made.tensors[value.name].size, [])
                alike = list(_alike(made, value.name, reference, named, tolerance))
                found.update(pair.reference for pair in alike)
                if alike:
                    pairs[value.name] = min(alike, key=lambda pair: pair.apart.relative)
    return pairs, frozenset(found)


def _alike(
    made: Trace, name: str, reference: Trace, candidates: list[str], tolerance: float
) -> Iterator[Pair]:
    bounds = made.tensors.ranges[name]
    for candidate in candidates:
        if not _near(bounds, reference.tensors.ranges[candidate], tolerance):
            continue
        for like in _laid_out(reference.tensors[candidate], made.tensors[name].shape):
            apart = difference(made.tensors[name], like)
            if apart.relative <= tolerance:
                yield Pair(candidate, apart)
                break


def _near(one: tuple[float, float], two: tuple[float, float], tolerance: float) -> bool:
    """Whether two ranges may be those of tensors within the tolerance; NaN is near NaN."""
    scale = max(map(abs, (*one, *two)))
    return all(
        a == b or (a != a and b != b) or abs(a - b) <= tolerance * scale
        for a, b in zip(one, two, strict=True)
    )


def _laid_out(values: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """A tensor in another's shape: as it is, and by every order of its axes that gives it."""
    yield values.reshape(shape)
    wanted = [size for size in shape if size > 1]
    squeezed = values.reshape([size for size in values.shape if size > 1])
    if sorted(wanted) != sorted(squeezed.shape) or not 1 < len(wanted) <= _MOST_AXES:
        return
    for order in permutations(range(len(wanted))):
        if list(order) != sorted(order) and [squeezed.shape[a] for a in order] == wanted:
            yield np.transpose(squeezed, order).reshape(shape)
