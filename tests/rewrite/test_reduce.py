"""Reduction without antialias by strided convolutions against the plain resize."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import VALUES, assert_within, rounding

from rethined_export.models.rethined.filters import cubic_downsample
from rethined_export.rewrite.reduce import CubicDownsample, reduction_taps

#: Two passes of four terms whose sizes add up to 1.375 a pass, and weights torch computes in fp32.
TERMS = 1.375**2 * (2 * 4 + 16)


@settings(deadline=None, max_examples=80)
@given(
    scale=st.sampled_from([2, 4, 6, 8]),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    values=VALUES,
)
def test_equals_plain_resize(scale, height, width, values):
    x = values.draw(1, 3, height * scale, width * scale)
    bound = rounding(TERMS, x)
    assert_within(CubicDownsample(scale)(x), cubic_downsample(x, scale), bound)


def test_equals_plain_resize_at_the_size_exported():
    x = torch.rand(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(0))
    # Positions up to 1024 round in torch's own resize, by 2^-14 of a pixel at most.
    assert_within(CubicDownsample(2)(x), cubic_downsample(x, 2), rounding(TERMS, x) + 1e-6)


def test_taps_are_keys_kernel_half_way():
    assert reduction_taps().tolist() == [-0.09375, 0.59375, 0.59375, -0.09375]


def test_odd_scales_are_refused():
    with pytest.raises(ValueError, match="odd"):
        CubicDownsample(3)
