"""Palettes: each weight of a tensor is one of a few values."""

from typing import Any

import numpy as np
import numpy.typing as npt

#: Tensors of no more numbers keep their weights: one palette for all of a tensor's channels gains
#: too little. In RETHINED they are a seventh of all weights, and their palettes lost 7 and 9 dB.
FEW_WEIGHTS = 16384
#: Of k-means; levels move little after a few.
_ROUNDS = 200


def nearest_levels(
    bits: int, weights: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
    """A palette of 2^bits levels that lies near all weights, and each weight's place in it.

    Returns:
        Levels, ascending, in the type of the weights; places of all weights, flat.
    """
    values = weights.astype(np.float64).ravel()
    found = np.unique(values)
    if len(found) <= 2**bits:  # there are no nearer ones
        levels = np.pad(found, (0, 2**bits - len(found)), mode="edge")
    else:
        levels = _means(bits, np.sort(values))
    places = np.searchsorted((levels[1:] + levels[:-1]) / 2, values)
    return levels.astype(weights.dtype), places.astype(np.uint8)


def _means(bits: int, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """k-means of ascending values (Lloyd) without chance, 2^bits of them, ascending.

    Half of the levels begin where most values are, half evenly spread, since few large weights
    decide as much.
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    half = 2 ** (bits - 1)
    crowded = np.quantile(values, (np.arange(half) + 0.5) / half)
    levels = np.sort(np.concatenate([crowded, np.linspace(values[0], values[-1], half)]))
    for _ in range(_ROUNDS):
        edges = np.searchsorted(values, (levels[1:] + levels[:-1]) / 2)
        starts, ends = np.concatenate([[0], edges]), np.concatenate([edges, [len(values)]])
        counts = ends - starts
        means = (sums[ends] - sums[starts]) / np.maximum(counts, 1)
        levels = np.sort(np.where(counts > 0, means, levels))
    return np.asarray(levels)
