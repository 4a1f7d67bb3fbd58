"""Enlargement by nearest neighbours and 3×3 against zero insertion and 4×4."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from twins import VALUES, assert_within, rounding

from rethined_export.models.migan.blocks import Upsample, fir_taps
from rethined_export.rewrite.fir import FirUpsample


def taps_of(channels: int, seed: int) -> Tensor:
    """Random 4×4 filters, exact in float32, that weigh even and odd outputs alike."""
    generator = torch.Generator().manual_seed(seed)
    narrow = torch.randint(-32, 33, (channels, 1, 3, 3), generator=generator).float() / 64
    wider = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]])
    return wider @ narrow @ wider.T


@settings(deadline=None, max_examples=80)
@given(
    channels=st.integers(1, 9),
    side=st.integers(1, 20),
    seed=st.integers(0, 2**31),
    values=VALUES,
)
def test_equals_the_plain_enlargement(channels, side, seed, values):
    """Four terms against nine, the weights of each output of absolute sum at most 9·½."""
    plain = Upsample(channels, 2 * side)
    plain.filter.weight.data = taps_of(channels, seed)
    x = values.draw(1, channels, side, side)
    assert_within(
        FirUpsample(plain.filter.weight)(x), plain(x).detach(), rounding(4.5 * (4 + 9), x)
    )


@settings(deadline=None, max_examples=40)
@given(
    channels=st.integers(1, 5),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    seed=st.integers(0, 2**31),
    values=VALUES,
)
def test_equals_a_transposed_convolution(channels, height, width, seed, values):
    """Whose taps are turned round; it has sides of any lengths."""
    taps, x = taps_of(channels, seed), values.draw(1, channels, height, width)
    transposed = F.conv_transpose2d(x, taps.flip(2, 3), stride=2, padding=1, groups=channels)
    assert_within(FirUpsample(taps)(x), transposed, rounding(4.5 * (4 + 9), x))


def test_binomial_taps_become_one_two_one():
    kernel = FirUpsample(fir_taps(4.0)[None, None]).kernel[0, 0]
    line = torch.tensor([0.25, 0.5, 0.25])
    assert torch.equal(kernel, torch.outer(line, line))


@pytest.mark.parametrize("row", [0, 3])
def test_uneven_taps_are_refused(row):
    taps = fir_taps(4.0)[None, None].clone()
    taps[0, 0, row] *= 1.01
    with pytest.raises(ValueError, match="even and odd outputs differently"):
        FirUpsample(taps)
