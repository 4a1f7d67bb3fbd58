"""A mask and its opposite for every colour, to the bit."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import VALUES

from rethined_export.rewrite.wide import Wide


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 20), width=st.integers(1, 20), values=VALUES)
def test_is_the_mask_three_times(height, width, values):
    mask = values.draw(1, 1, height, width)
    hole, known = Wide()(mask)
    assert torch.equal(hole, mask.expand(1, 3, height, width))
    assert torch.equal(known, (1 - mask).expand(1, 3, height, width))
