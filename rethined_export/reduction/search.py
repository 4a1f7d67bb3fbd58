"""Which layers bear int8 worst: measured, one group of neighbours at a time."""

from collections.abc import Callable, Sequence
from itertools import pairwise

#: Groups that layers are taken in: a run of every layer alone would take hours.
GROUPS = 12
#: Layers are kept for what they gain over this times the error of all in floats: half a decibel.
#: Weights in 8 bits alone can cost more than the bound, and then keeping layers is no help.
SLACK = 1.12


def groups_of(layers: Sequence[str], count: int = GROUPS) -> list[tuple[str, ...]]:
    """Layers in order, in groups of neighbours of about equal number; none is empty."""
    count = min(count, len(layers))
    edges = [round(i * len(layers) / count) for i in range(count + 1)] if count else []
    return [tuple(layers[a:b]) for a, b in pairwise(edges)]


def keep_worst(
    layers: Sequence[str], error: Callable[[frozenset[str]], float], most: float
) -> frozenset[str]:
    """The layers to keep in floats, so that the error stays within a bound.

    Each group is quantised alone; of those that do most harm so many are kept, by bisection, that
    what is left together does little enough. Errors of groups do not simply add up, so it is
    measured.

    Args:
        error: mean square error with these layers kept and all others quantised; not a number where
            the artifact gives none.
        most: bound; where all layers kept do not reach it, :data:`SLACK` times what they reach.
    """
    found = groups_of(layers)
    everything = frozenset(layers)
    plain = error(frozenset())
    if plain <= most:
        return frozenset()
    most = max(most, SLACK * error(everything))
    if plain <= most:
        return frozenset()
    harm = {group: error(everything - frozenset(group)) for group in found}
    # What is no number does most harm of all.
    ranked = sorted(found, key=lambda group: (harm[group] == harm[group], -harm[group]))

    def worst(count: int) -> frozenset[str]:
        return frozenset(layer for group in ranked[:count] for layer in group)

    few, enough = 0, len(ranked)
    while enough - few > 1:
        between = (few + enough) // 2
        if error(worst(between)) <= most:
            enough = between
        else:
            few = between
    return worst(enough)
