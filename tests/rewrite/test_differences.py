"""Differences within a map by matrices against slices, pooling and bilinear enlargement."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rethined_export.models.pmrf.priority import central_differences, detail
from rethined_export.rewrite.differences import CentralDifferences, HalvedDetail
from tests.twins import VALUES, assert_within, rounding


@settings(deadline=None, max_examples=60)
@given(height=st.integers(1, 20), width=st.integers(1, 20), values=VALUES)
def test_equals_differences_bit_for_bit(height, width, values):
    """Halving and adding zeros are exact; one rounding is left, the same in both."""
    x = values.draw(1, 1, height, width)
    for made, expected in zip(
        CentralDifferences(height, width)(x), central_differences(x), strict=True
    ):
        assert torch.equal(made, expected[0, 0])


@settings(deadline=None, max_examples=60)
@given(rows=st.integers(1, 10), columns=st.integers(1, 10), values=VALUES)
def test_equals_what_halving_loses(rows, columns, values):
    """Sums of 16 values with weights that sum to one, and one difference."""
    x = values.draw(1, 1, 2 * rows, 2 * columns)
    made = HalvedDetail(2 * rows, 2 * columns)(x)
    assert_within(made, detail(x)[0, 0], rounding(20, x))
