"""Box sums of one channel against a convolution of many with ones."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from rethined_export.rewrite.box import BoxSum


@settings(deadline=None, max_examples=60)
@given(
    side=st.sampled_from([1, 3, 5, 7]),
    stride=st.integers(1, 2),
    channels=st.integers(1, 40),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    seed=st.integers(0, 2**31),
)
def test_equals_a_convolution_with_ones(side, stride, channels, height, width, seed):
    """To the bit: both count whole numbers."""
    draw = torch.Generator().manual_seed(seed)
    known = (torch.rand(1, 1, height, width, generator=draw) < 0.3).float()
    ones = torch.ones(5, channels, side, side)
    every = F.conv2d(known.repeat(1, channels, 1, 1), ones, stride=stride, padding=side // 2)
    made = BoxSum(side, stride)(channels * known)
    assert torch.equal(made.expand_as(every), every)
