"""Cropped transposed convolutions against those with output padding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rethined_export.rewrite.transposed import CroppedTransposed, PixelToMap
from tests.twins import VALUES, assert_within, rounding


@settings(deadline=None, max_examples=60)
@given(
    inputs=st.integers(1, 4),
    outputs=st.integers(1, 4),
    groups=st.integers(1, 2),
    bias=st.booleans(),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    values=VALUES,
)
@torch.no_grad()
def test_equals_output_padding(inputs, outputs, groups, bias, height, width, values):
    """A pixel is a sum of at most four taps of every input channel, and a bias."""
    inputs, outputs = inputs * groups, outputs * groups
    plain = nn.ConvTranspose2d(
        inputs, outputs, 3, stride=2, padding=1, output_padding=1, groups=groups, bias=bias
    )
    x = values.draw(2, inputs, height, width)
    count = 4 * inputs + 1
    weight = max(parameter.abs().max().item() for parameter in plain.parameters())
    bound = rounding(count, x) * count * weight + count * torch.finfo(torch.float32).eps * weight
    assert_within(CroppedTransposed(plain)(x), plain(x), bound)
    assert plain.output_padding == (1, 1)


@pytest.mark.parametrize(
    "conv",
    [
        nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1),
        nn.ConvTranspose2d(2, 2, 3, stride=2, padding=1),
        nn.ConvTranspose2d(2, 2, 3, stride=2, padding=1, output_padding=1, dilation=2),
        nn.ConvTranspose2d(2, 2, (3, 5), stride=2, padding=1, output_padding=1),
    ],
)
def test_other_shapes_are_refused(conv):
    with pytest.raises(ValueError, match="cannot be cropped"):
        CroppedTransposed(conv)


@settings(deadline=None, max_examples=60)
@given(
    batch=st.integers(1, 2),
    inputs=st.integers(1, 9),
    outputs=st.integers(1, 5),
    side=st.integers(1, 5),
    stride=st.integers(1, 2),
    bias=st.booleans(),
    values=VALUES,
)
@torch.no_grad()
def test_one_pixel_equals_a_product(batch, inputs, outputs, side, stride, bias, values):
    """A pixel is a sum of one tap of every input channel, and a bias."""
    plain = nn.ConvTranspose2d(inputs, outputs, side, stride, bias=bias)
    x = values.draw(batch, inputs, 1, 1)
    count = inputs + 1
    weight = max(parameter.abs().max().item() for parameter in plain.parameters())
    bound = rounding(count, x) * count * weight + count * torch.finfo(torch.float32).eps * weight
    assert_within(PixelToMap(plain)(x), plain(x), bound)


@pytest.mark.parametrize(
    "conv",
    [
        nn.ConvTranspose2d(2, 2, 4, padding=1),
        nn.ConvTranspose2d(2, 2, 4, groups=2),
        nn.ConvTranspose2d(2, 2, 4, dilation=2),
        nn.ConvTranspose2d(2, 2, (3, 5)),
    ],
)
def test_what_is_no_product_is_refused(conv):
    with pytest.raises(ValueError, match="no product with its kernel"):
        PixelToMap(conv)
