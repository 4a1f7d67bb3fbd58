"""A separable layer over two maps against the same over both joined."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from twins import EPS, VALUES, Values, assert_within

from rethined_export.rewrite.skips import SplitSeparable


def layers(channels: int, out: int, stride: int, values: Values) -> tuple[nn.Conv2d, nn.Conv2d]:
    depthwise = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels)
    pointwise = nn.Conv2d(channels, out, 1)
    for layer in (depthwise, pointwise):
        layer.weight.data = values.draw(*layer.weight.shape)
        layer.bias.data = values.draw(*layer.bias.shape)
    return depthwise.requires_grad_(False), pointwise.requires_grad_(False)


@settings(deadline=None, max_examples=60)
@given(
    first=st.integers(1, 5),
    second=st.integers(1, 5),
    out=st.integers(1, 4),
    stride=st.sampled_from([1, 2]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    weights=VALUES,
    values=VALUES,
)
def test_equals_the_layers_over_joined_maps(
    first, second, out, stride, height, width, weights, values
):
    """Each side sums nine terms and a bias a channel, then all channels and a bias."""
    one, other = values.draw(1, first, height, width), values.draw(1, second, height, width)
    depthwise, pointwise = layers(first + second, out, stride, weights)
    joined = torch.cat([one, other], dim=1)
    plain = torch.relu(pointwise(torch.relu(depthwise(joined))))
    between = nn.functional.conv2d(
        joined.abs(),
        depthwise.weight.abs(),
        depthwise.bias.abs(),
        stride,
        1,
        groups=len(depthwise.weight),
    )
    size = nn.functional.conv2d(between, pointwise.weight.abs(), pointwise.bias.abs())
    split = SplitSeparable(depthwise, pointwise, first)
    assert_within(split(one, other), plain, (9 + 1 + first + second + 1) * EPS * size)


def test_a_layer_that_mixes_channels_is_refused():
    with pytest.raises(ValueError, match="mixes channels"):
        SplitSeparable(nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 2, 1), 2)
