"""Reflection by slices against torch's padding."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from rethined_export.rewrite.reflect import ReflectedConv, ReflectPad
from tests.twins import VALUES, assert_within


@settings(deadline=None, max_examples=40)
@given(reach=st.integers(0, 8), height=st.integers(1, 9), width=st.integers(1, 9), values=VALUES)
def test_equals_reflection(reach, height, width, values):
    x = values.draw(2, 3, height + reach, width + reach)
    assert torch.equal(ReflectPad(reach)(x), F.pad(x, [reach] * 4, mode="reflect"))


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 1, 1), (3, 2, 1), (3, 1, 8), (7, 1, 1)]
)
@torch.no_grad()
def test_convolution_equals_reflecting_one(kernel, stride, dilation):
    """The same products of the same numbers, in whatever order: 1e-5 of values near 1."""
    padding = kernel // 2 * dilation
    plain = nn.Conv2d(4, 5, kernel, stride, padding, dilation=dilation, padding_mode="reflect")
    x = torch.rand(1, 4, 12, 16, generator=torch.Generator().manual_seed(0))
    assert_within(ReflectedConv(copy.deepcopy(plain))(x), plain(x), 1e-5)
