"""Which layers bear int8 worst: measured, one group of neighbours at a time."""

from collections.abc import Callable, Sequence
from itertools import pairwise

#: Groups that layers are taken in: a run of every layer alone would take hours.
GROUPS = 12


def groups_of(layers: Sequence[str], count: int = GROUPS) -> list[tuple[str, ...]]:
    """Layers in order, in groups of neighbours of about equal number; none is empty."""
    count = min(count, len(layers))
    edges = [round(i * len(layers) / count) for i in range(count + 1)] if count else []
    return [tuple(layers[a:b]) for a, b in pairwise(edges)]


def keep_worst(layers: Sequence[str], error: Callable[[frozenset[str]], float]) -> frozenset[str]:
    """The layers to keep in floats, so that the error stays within its bound.

    Each group is quantised alone; of those that do most harm so many are kept, by bisection, that
    what is left together does little enough. Errors of groups do not simply add up, so it is
    measured.

    Args:
        error: mean square error with these layers kept and all others quantised, over what it may
            be, so that 1 is enough; not a number where the artifact gives none.
    """
    found = groups_of(layers)
    everything = frozenset(layers)
    if error(frozenset()) <= 1:
        return frozenset()
    harm = {group: error(everything - frozenset(group)) for group in found}
    # What is no number does most harm of all.
    ranked = sorted(found, key=lambda group: (harm[group] == harm[group], -harm[group]))

    def worst(count: int) -> frozenset[str]:
        return frozenset(layer for group in ranked[:count] for layer in group)

    few, enough = 0, len(ranked)
    while enough - few > 1:
        between = (few + enough) // 2
        if error(worst(between)) <= 1:
            enough = between
        else:
            few = between
    return worst(enough)
