"""Layers that bear int8 worst are found, whatever the others do."""

import math

from hypothesis import given
from hypothesis import strategies as st

from rethined_export.reduction.search import GROUPS, groups_of, keep_worst

LAYERS = tuple(f"layer {i}" for i in range(24))


@given(count=st.integers(0, 40), groups=st.integers(1, 12))
def test_groups_hold_every_layer_once_in_order(count: int, groups: int) -> None:
    layers = [str(i) for i in range(count)]
    made = groups_of(layers, groups)
    assert [layer for group in made for layer in group] == layers
    assert len(made) == min(count, groups)
    assert max(map(len, made), default=0) - min(map(len, made), default=0) <= 1


def error_of(harm: dict[str, float]):
    """Each layer that is quantised adds its own."""

    def error(kept: frozenset[str]) -> float:
        return sum(value for layer, value in harm.items() if layer not in kept)

    return error


@given(bad=st.sets(st.sampled_from(LAYERS), max_size=6), size=st.floats(2.0, 1e6))
def test_harmful_layers_are_kept_and_not_much_else(bad: set[str], size: float) -> None:
    harm = {layer: (size if layer in bad else 1e-3) for layer in LAYERS}
    kept = keep_worst(LAYERS, error_of(harm))
    assert bad <= kept
    assert error_of(harm)(kept) <= 1.0
    assert len(kept) <= len(bad) * len(LAYERS) // GROUPS


def test_nothing_is_kept_where_nothing_hurts() -> None:
    assert keep_worst(LAYERS, lambda _kept: 0.0) == frozenset()


def test_a_layer_that_gives_no_number_is_kept_first() -> None:
    def error(kept: frozenset[str]) -> float:
        return math.nan if "layer 20" not in kept else 0.5

    assert "layer 20" in keep_worst(LAYERS, error)


def test_where_nothing_helps_all_is_kept() -> None:
    assert keep_worst(LAYERS, lambda _kept: 5.0) == frozenset(LAYERS)
