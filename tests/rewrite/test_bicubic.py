"""Bicubic enlargement by convolution and pixel shuffle against the plain resize."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from twins import EPS, VALUES, assert_within, rounding

from rethined_export.models.rethined.filters import bicubic_upsample
from rethined_export.rewrite.bicubic import BicubicUpsample, bicubic_taps, replicate_pad


@settings(deadline=None, max_examples=80)
@given(
    scale=st.integers(1, 8),
    channels=st.integers(1, 4),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    values=VALUES,
)
def test_equals_plain_resize(scale, channels, height, width, values):
    """25 terms against 4 + 4, weights of absolute sum < 2 in two directions.

    The plain resize also rounds each position to ``side·EPS``, and its weights change by at most
    8 (4 taps of slope < 2) for every pixel moved.
    """
    x = values.draw(1, channels, height, width)
    bound = rounding(2 * 2 * (25 + 8 * max(height, width)), x)
    assert_within(BicubicUpsample(scale)(x), bicubic_upsample(x, scale), bound)


@pytest.mark.parametrize("scale", [2, 4, pytest.param(8, marks=pytest.mark.slow)])
def test_equals_plain_resize_at_the_size_exported(scale):
    """At powers of two every position is exact in float32, so only the sums round."""
    x = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(scale))
    assert_within(BicubicUpsample(scale)(x), bicubic_upsample(x, scale), rounding(4 * 25, x))


@pytest.mark.parametrize("scale", range(1, 9))
def test_taps_keep_a_constant(scale):
    assert bicubic_taps(scale).sum(1) == pytest.approx(torch.ones(scale).numpy(), abs=EPS)


def test_scale_one_is_the_identity():
    x = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(BicubicUpsample(1)(x), x)


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 9), width=st.integers(1, 9), values=VALUES)
def test_replicate_pad_equals_plain_pad(height, width, values):
    x = values.draw(1, 3, height, width)
    assert torch.equal(replicate_pad(x, 2), F.pad(x, [2] * 4, mode="replicate"))
