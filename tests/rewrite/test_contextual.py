"""Attention by products of pixels against attention by patches."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rethined_export.models.deepfill import PRESETS, AttentionConfig, ContextualAttention
from rethined_export.rewrite.contextual import DiagonalAttention, beside, with_neighbours
from tests.twins import EPS

CONFIGS = st.builds(AttentionConfig, *[st.booleans()] * 5)
#: Positions along a side.
SIDES = st.integers(2, 7)


def scene(rows: int, columns: int, channels: int, cover: float, seed: int) -> tuple[Tensor, Tensor]:
    """A map, and a mask whose holes are squares of eight pixels."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(1, channels, 2 * rows, 2 * columns, generator=draw)
    hole = (torch.rand(1, 1, rows, columns, generator=draw) < cover).float()
    return x, hole.repeat_interleave(8, 2).repeat_interleave(8, 3)


@settings(deadline=None, max_examples=80)
@given(
    config=CONFIGS,
    rows=SIDES,
    columns=SIDES,
    channels=st.sampled_from([1, 3, 16]),
    cover=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    spread=st.sampled_from([0.0, 1e-3, 0.1, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_equals_attention_by_patches(config, rows, columns, channels, cover, spread, seed):
    """In float64, where both would agree to the last digits but for what is wrong."""
    x, mask = scene(rows, columns, channels, cover, seed)
    x, mask = (spread * x).double(), mask.double()
    plain = ContextualAttention(config).double()
    made = DiagonalAttention(plain, 8 * rows, 8 * columns).double()
    apart = (made(x, mask) - plain(x, mask)).abs().max()
    assert apart <= 1e-9 * spread


@pytest.mark.parametrize("preset", PRESETS)
def test_float32_is_as_exact_as_the_plain_form(preset):
    """A score is a sum of nine products a channel, and up to nine of those; what it is off by
    moves a softmax by that much of itself, ten times sharpened."""
    config = PRESETS[preset].attention
    x, mask = scene(8, 11, 12, 0.2, seed=5)
    plain = ContextualAttention(config)
    exact = ContextualAttention(config).double()(x.double(), mask.double())
    made = DiagonalAttention(plain, 64, 88)(x, mask)
    norms = torch.nn.functional.unfold(x, 3, padding=1).norm(dim=1).max().item()
    bound = 10 * 9 * norms * 81 * EPS * x.abs().max().item()
    assert (made - exact).abs().max() <= bound
    assert bound < 0.05


def test_a_map_that_is_all_hole_gives_zeros_in_every_port():
    x, mask = scene(4, 5, 3, 1.0, seed=1)
    for config in {PRESETS[preset].attention for preset in PRESETS}:
        made = DiagonalAttention(ContextualAttention(config), 32, 40)(x, mask)
        assert torch.equal(made, torch.zeros_like(x))


def test_excluded_patches_win_nothing_however_sharp_the_scores():
    """Values of 30 make scores of some thousand."""
    x, mask = scene(6, 6, 4, 0.3, seed=3)
    for fuse in (False, True):
        config = replace(PRESETS["v2-mmagic"].attention, fuse=fuse)
        plain = ContextualAttention(config)
        made = DiagonalAttention(plain, 48, 48)(30 * x, mask)
        assert (made - plain(30 * x, mask)).abs().max() <= 1e-3
        assert torch.isfinite(made).all()


def test_neighbours_lie_on_diagonals():
    table = torch.arange(3 * 4 * 3 * 4.0).reshape(3, 4, 3, 4)
    moved = beside(table, 1, -1)
    assert moved[2, 3, 1, 2] == table[2, 2, 1, 1]
    assert not moved[:, 0].any() and not moved[:, :, :, 0].any()
    summed = with_neighbours(table, 0)
    assert summed[1, 2, 1, 3] == table[0, 2, 0, 3] + table[1, 2, 1, 3] + table[2, 2, 2, 3]
    assert summed[2, 2, 1, 3] == table[1, 2, 0, 3] + table[2, 2, 1, 3]


def test_another_constant_than_the_identity_is_refused():
    plain = ContextualAttention(AttentionConfig(), "fuse_weight")
    plain.get_buffer("fuse_weight")[0, 0, 0, 2] = 0.5
    with pytest.raises(ValueError, match="fuse_weight is not the 3×3 identity"):
        DiagonalAttention(plain, 64, 64)
    DiagonalAttention(ContextualAttention(AttentionConfig(fuse=False)), 64, 64)
