"""Choosing places along an axis as strided slices, where they lie in evenly spaced runs."""

from collections.abc import Sequence

import torch
from torch import Tensor


def runs_of(places: Sequence[int]) -> tuple[slice, ...]:
    """Slices that read rising places in order, each as long as the distance stays the same."""
    runs: list[slice] = []
    first = 0
    while first < len(places):
        step = places[first + 1] - places[first] if first + 1 < len(places) else 1
        end = first + 1
        while end < len(places) and places[end] - places[end - 1] == step:
            end += 1
        runs.append(slice(places[first], places[end - 1] + 1, step))
        first = end
    return tuple(runs)


def take_runs(x: Tensor, axis: int, runs: Sequence[slice]) -> Tensor:
    """Twin of ``x.index_select(axis, places)`` for the places of :func:`runs_of`."""
    before = (slice(None),) * axis
    parts = [x[(*before, run)] for run in runs]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=axis)
