"""The separable blur against the plain two-dimensional one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import VALUES, assert_within, rounding

from rethined_export.models.rethined.filters import BLUR_SIDE, gaussian_blur, gaussian_taps
from rethined_export.rewrite.blur import SeparableBlur

#: Reflection needs more pixels than the three it repeats.
SIDES = st.integers(BLUR_SIDE // 2 + 1, 40)


@settings(deadline=None, max_examples=60)
@given(height=SIDES, width=SIDES, values=VALUES)
def test_equals_plain_blur(height, width, values):
    """49 terms on one side, 7 + 7 on the other and three rounded taps, each half an EPS."""
    x = values.draw(1, 3, height, width)
    assert_within(SeparableBlur()(x), gaussian_blur(x), rounding((49 + 14 + 3) / 2, x))


def test_one_bright_pixel_spreads_as_the_outer_product_of_the_taps():
    x = torch.zeros(1, 3, 15, 15)
    x[0, 1, 7, 7] = 1
    expected = torch.zeros_like(x)
    taps = gaussian_taps()
    expected[0, 1, 4:11, 4:11] = torch.outer(taps, taps)
    assert_within(SeparableBlur()(x), expected, rounding(3, expected))


@pytest.mark.parametrize("height,width", [(4, 4), (4, 9), (512, 512)])
def test_colours_do_not_mix(height, width):
    x = torch.zeros(1, 3, height, width)
    x[:, 2] = torch.rand(height, width, generator=torch.Generator().manual_seed(0))
    assert not SeparableBlur()(x)[:, :2].any()
