"""A convolution over a doubled and joined map against doubling, joining and convolving."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from rethined_export.rewrite.enlarge import EnlargingConv
from tests.twins import EPS, VALUES, assert_within


@settings(deadline=None, max_examples=40)
@given(
    doubled=st.integers(1, 5),
    skipped=st.integers(1, 5),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    bias=st.booleans(),
    values=VALUES,
)
@torch.no_grad()
def test_equals_doubling_joining_and_convolving(doubled, skipped, height, width, bias, values):
    """At the border too, where the convolution sees zeros."""
    torch.manual_seed(doubled + 7 * skipped)
    conv = nn.Conv2d(doubled + skipped, 4, 3, padding=1, bias=bias)
    x = values.draw(2, doubled, height, width)
    skip = values.draw(2, skipped, 2 * height, 2 * width)
    joined = torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skip], dim=1)
    # Sums of as many terms as a kernel has weights, and of two taps beforehand.
    terms = 9 * (doubled + skipped) + 2
    size = conv.weight.abs().sum(dim=(1, 2, 3)).max() * joined.abs().max() + 1
    assert_within(EnlargingConv(conv, doubled)(x, skip), conv(joined), terms * EPS * size.item())


@pytest.mark.parametrize("conv", [nn.Conv2d(3, 2, 3), nn.Conv2d(3, 2, 5, padding=2)])
def test_other_convolutions_are_refused(conv):
    with pytest.raises(ValueError, match="is not of kernel 3"):
        EnlargingConv(conv, 2)
