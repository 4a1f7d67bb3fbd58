"""Maps less their mean over their deviation, summed in small steps, against torch's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from rethined_export.rewrite.standard import instance_norm, standardised
from tests.twins import EPS, assert_within


def plain(x: torch.Tensor, epsilon: float) -> torch.Tensor:
    return (x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), keepdim=True) + epsilon)


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 12),
    width=st.integers(2, 12),
    offset=st.sampled_from([0.0, 1.0, -30.0]),
    spread=st.sampled_from([1e-3, 1.0, 1e3]),
    epsilon=st.sampled_from([0.0, 1e-9, 1e-7]),
    seed=st.integers(0, 2**31),
)
def test_equals_mean_and_sample_deviation(height, width, offset, spread, epsilon, seed):
    """Both mean and deviation may be off by n roundings of the largest value, n = h·w; the result
    divides by the deviation, of which epsilon is a share."""
    draw = torch.Generator().manual_seed(seed)
    x = offset + spread * torch.randn(2, 3, height, width, generator=draw)
    x[:, :, 0, 0] += spread  # no map is constant
    expected = plain(x.double(), epsilon)
    count, deviation = height * width, x.double().std((2, 3), keepdim=True)
    unit = count * EPS * x.abs().max().double() / deviation
    bound = unit * (1 + expected.abs()) + (8 * EPS + epsilon / deviation) * expected.abs()
    assert_within(standardised(x, epsilon).double(), expected, bound)


def test_a_constant_map_is_zero():
    """Not 0/0: what is divided by is 1e-9."""
    assert not standardised(torch.full((1, 2, 4, 8), 3.0), 1e-9).any()


def test_it_stays_within_half_precision():
    """A plain sum of squares of this map is 262144, four times what fp16 holds."""
    values = torch.full((1, 1, 128, 128), 4.0)
    values[..., ::2] = -4
    half = values.half()
    assert torch.isinf((half * half).sum(dtype=torch.float32).half())
    assert standardised(half, 1e-9).abs().float().mean().item() == pytest.approx(1, abs=2e-2)


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 12),
    width=st.integers(2, 12),
    offset=st.sampled_from([0.0, 1.0, -30.0]),
    spread=st.sampled_from([1e-3, 1.0, 1e3]),
    seed=st.integers(0, 2**31),
)
def test_instance_norm_equals_torchs(height, width, offset, spread, seed):
    """The mean is off by n roundings of the largest value, which the deviation divides; and so is
    the deviation, of which the result is as large a share."""
    draw = torch.Generator().manual_seed(seed)
    x = offset + spread * torch.randn(2, 3, height, width, generator=draw)
    expected = F.instance_norm(x.double(), eps=1e-5)
    deviation = torch.sqrt(x.double().var((2, 3), correction=0, keepdim=True) + 1e-5)
    unit = height * width * EPS * x.abs().max().double() / deviation
    bound = unit * (1 + expected.abs()) + 8 * EPS * expected.abs()
    assert_within(instance_norm(x, 1e-5).double(), expected, bound)
