"""Central differences by matrices against slices of a map with its border repeated."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rethined_export.models.pmrf.priority import central_differences
from rethined_export.rewrite.differences import CentralDifferences
from tests.twins import VALUES


@settings(deadline=None, max_examples=60)
@given(height=st.integers(1, 20), width=st.integers(1, 20), values=VALUES)
def test_equals_differences_bit_for_bit(height, width, values):
    """Halving and adding zeros are exact; one rounding is left, the same in both."""
    x = values.draw(1, 1, height, width)
    for made, expected in zip(
        CentralDifferences(height, width)(x), central_differences(x), strict=True
    ):
        assert torch.equal(made, expected[0, 0])
