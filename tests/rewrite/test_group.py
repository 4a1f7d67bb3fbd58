"""Norms over groups against torch's."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rethined_export.rewrite.group import GroupNorm

#: Means of at most 4·9·11 values of fp32 in another order, over a deviation of 1e-3 at least of the
#: values' size: 400 · 6e-8 / 1e-3 at worst; measured 2e-5.
TOLERANCE = 1e-4


@settings(deadline=None, max_examples=60)
@given(
    batch=st.integers(1, 2),
    groups=st.integers(1, 5),
    each=st.integers(1, 4),
    height=st.integers(1, 9),
    width=st.integers(2, 11),
    offset=st.sampled_from([0.0, 3.0, 100.0]),
    seed=st.integers(0, 2**31),
)
def test_equals_torchs(batch, groups, each, height, width, offset, seed):
    draw = torch.Generator().manual_seed(seed)
    plain = nn.GroupNorm(groups, groups * each).requires_grad_(False)
    plain.weight.copy_(torch.randn(groups * each, generator=draw))
    plain.bias.copy_(torch.randn(groups * each, generator=draw))
    x = torch.randn(batch, groups * each, height, width, generator=draw) + offset
    made = GroupNorm(plain)(x)
    exact = plain.double()(x.double())
    # The fewer values, the more their rounding is magnified by a small deviation.
    spread = x.reshape(batch, groups, -1).std(2, correction=0).min()
    assert (made - exact).abs().max() <= TOLERANCE * max(1.0, offset / 100) * max(1.0, 1 / spread)


def test_a_flat_map_gives_the_bias():
    plain = nn.GroupNorm(2, 4).requires_grad_(False)
    plain.bias.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    made = GroupNorm(plain)(torch.full((1, 4, 3, 5), 0.5))
    assert torch.equal(made, plain.bias.reshape(1, 4, 1, 1).expand(1, 4, 3, 5))
