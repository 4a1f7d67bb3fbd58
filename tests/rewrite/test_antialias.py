"""Antialiased reduction by strided convolutions against the plain resize."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import VALUES, assert_within, rounding

from rethined_export.models.rethined.filters import bicubic_downsample, bilinear_downsample
from rethined_export.rewrite.antialias import AntialiasedDownsample, antialias_taps

EVEN_SCALES = st.sampled_from([2, 4, 6, 8])


def terms(scale: int) -> float:
    """Two passes of 4·s terms and a few rounded weights; absolute weights sum to < 1.5 a pass."""
    return 1.5**2 * (2 * 4 * scale + 8)


@settings(deadline=None, max_examples=80)
@given(scale=EVEN_SCALES, size=st.integers(1, 24), values=VALUES)
def test_equals_plain_resize(scale, size, values):
    """Sizes from one pixel, where every tap but the middle ones falls outside."""
    x = values.draw(1, 3, size * scale, size * scale)
    actual = AntialiasedDownsample(scale, size)(x)
    assert_within(actual, bicubic_downsample(x, scale), rounding(terms(scale), x))


@settings(deadline=None, max_examples=60)
@given(scale=EVEN_SCALES, size=st.integers(1, 24), values=VALUES)
def test_bilinear_equals_plain_resize(scale, size, values):
    x = values.draw(1, 3, size * scale, size * scale)
    actual = AntialiasedDownsample(scale, size, "bilinear")(x)
    assert_within(actual, bilinear_downsample(x, scale), rounding(terms(scale), x))


@pytest.mark.parametrize("scale", [2, 4])
def test_equals_plain_resize_at_the_size_exported(scale):
    x = torch.rand(1, 3, 512 * scale, 512 * scale, generator=torch.Generator().manual_seed(scale))
    actual = AntialiasedDownsample(scale, 512)(x)
    assert_within(actual, bicubic_downsample(x, scale), rounding(terms(scale), x))


@pytest.mark.parametrize("scale", [2, 4, 6, 8])
def test_weights_lost_past_the_border_are_restored(scale):
    ones = torch.ones(1, 3, 6 * scale, 6 * scale)
    assert_within(
        AntialiasedDownsample(scale, 6)(ones), torch.ones(1, 3, 6, 6), rounding(terms(scale), ones)
    )


@pytest.mark.parametrize("scale", [2, 4, 6, 8])
def test_taps_are_symmetric_and_bounded(scale):
    taps = antialias_taps(scale)
    assert torch.equal(taps, taps.flip(0))
    assert taps.sum().item() == pytest.approx(1)
    assert taps.abs().sum() < 1.5


@pytest.mark.parametrize("scale", [1, 3, 5, 7])
def test_odd_scales_are_refused(scale):
    with pytest.raises(ValueError, match=f"scale {scale} is odd"):
        AntialiasedDownsample(scale, 4)
