"""Projections, flags and choices of tokens against their plain forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from twins import EPS, VALUES, assert_within

from rethined_export.models.rethined.attention import FORBIDDEN, attention_map, mask_scores
from rethined_export.models.rethined.config import GRID, PATCH, PATCH_SIZE
from rethined_export.models.rethined.filters import unfold
from rethined_export.rewrite.tokens import (
    Strongest,
    TokenProjection,
    forbid_self,
    spread_flags,
    unfold_grid,
)


@settings(deadline=None, max_examples=50)
@given(
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    features=st.integers(1, 40),
    size=st.integers(1, 40),
    halved=st.booleans(),
    values=VALUES,
)
def test_projection_equals_linear_of_tokens(rows, columns, features, size, halved, values):
    """Sums of ``192 + features`` terms; the gain rounds each weight once more."""
    high = values.draw(1, 3, rows * PATCH, columns * PATCH)
    context = values.draw(1, features, rows, columns)
    linear = nn.Linear(PATCH_SIZE + features, size, bias=False)
    gain = 1 / math.sqrt(size) if halved else 1.0
    tokens = torch.cat([unfold(high, PATCH), context.flatten(2)[0].T], dim=1)
    with torch.no_grad():
        actual = TokenProjection(linear.weight * gain)(high, context).flatten(2)[0].T
        expected = linear(tokens) * gain
        bound = F.linear(tokens.abs(), linear.weight.abs()) * gain
    assert_within(actual, expected, (PATCH_SIZE + features + 2) * EPS * bound)


def test_projection_leaves_the_layer_alone():
    linear = nn.Linear(PATCH_SIZE + 4, 8, bias=False)
    before = linear.weight.detach().clone()
    projection = TokenProjection(linear.weight)
    with torch.no_grad():
        projection.patch.weight.zero_()
        projection.context.weight.zero_()
    assert torch.equal(linear.weight, before)


@settings(deadline=None, max_examples=60)
@given(
    patch=st.integers(1, 9),
    channels=st.integers(1, 4),
    rows=st.integers(1, 7),
    columns=st.integers(1, 7),
    values=VALUES,
)
def test_unfold_grid_equals_pixel_unshuffle(patch, channels, rows, columns, values):
    """Moving pixels rounds nothing; the plain unfold orders channels alike."""
    x = values.draw(1, channels, rows * patch, columns * patch)
    actual = unfold_grid(x, patch)
    assert torch.equal(actual, F.pixel_unshuffle(x, patch))
    assert torch.equal(actual.flatten(2)[0].T, unfold(x, patch))
    assert torch.equal(F.pixel_shuffle(actual, patch), x)


@pytest.mark.parametrize("scale", range(1, 9))
@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 2**31))
def test_flags_cover_their_patches(scale, seed):
    """Nearest-neighbour enlargement rounds positions, so only the sizes in use are promised."""
    patch = PATCH * scale
    hole = torch.rand(1, 1, GRID, GRID, generator=torch.Generator().manual_seed(seed)).round()
    expected = hole.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    assert torch.equal(spread_flags(hole, patch), expected)


@settings(deadline=None, max_examples=60)
@given(
    flags=st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=80),
    penalty=st.sampled_from([FORBIDDEN, 1.0, -3.5]),
)
def test_forbid_self_equals_diag(flags, penalty):
    hole = torch.tensor(flags)
    actual = forbid_self(hole.reshape(1, 1, 1, -1), penalty)
    assert torch.equal(actual[0, 0], penalty * torch.diag(hole))


def test_forbid_self_on_the_full_grid():
    hole = torch.rand(4096, generator=torch.Generator().manual_seed(0)).round()
    expected = mask_scores(torch.zeros(4096, 4096), hole, "published")
    assert torch.equal(forbid_self(hole.reshape(1, 1, 1, -1), FORBIDDEN)[0, 0], expected)


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 40),
    spare=st.integers(0, 5),
    k=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
def test_strongest_equals_topk_without_ties(count, spare, k, seed):
    """Rows are permutations: one order, so the keys are the same ones."""
    k = min(k, count)
    noise = torch.rand(count, count, generator=torch.Generator().manual_seed(seed))
    scores = noise.argsort(1).argsort(1).float() - count / 2
    values, indices = Strongest(k, count + spare, count)(scores[None, None])
    expected = scores.topk(k, dim=1)
    assert values.shape == indices.shape == (1, count, k)
    assert indices.dtype == torch.int32
    assert torch.equal(values[0], expected.values)
    assert torch.equal(indices[0].long(), expected.indices)


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 40),
    spare=st.integers(0, 5),
    k=st.integers(1, 5),
    levels=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
def test_strongest_takes_tied_keys_of_equal_score(count, spare, k, levels, seed):
    """Which of two equal keys wins is open; their scores and their number are not."""
    k = min(k, count)
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (count, count), generator=generator).float()
    values, indices = Strongest(k, count + spare, count)(scores[None, None])
    keys = indices[0].long()
    assert torch.equal(values[0], scores.topk(k, dim=1).values)
    assert torch.equal(scores.gather(1, keys), values[0])
    assert all(len(set(row)) == k for row in keys.tolist())


@pytest.mark.parametrize("score", [-300.0, 0.0, 300.0])
def test_forbidden_is_safe_in_half_precision(score):
    """Finite beside any score the model can make, and nothing after softmax."""
    bias = torch.tensor(FORBIDDEN, dtype=torch.float16)
    assert torch.isfinite(bias)
    assert torch.isfinite(bias + score)
    assert torch.exp(bias) == 0
    weights = torch.softmax(torch.stack([bias + score, bias.new_tensor(-score)]), dim=0)
    assert weights.tolist() == [0, 1]


def test_forbidden_weighs_exactly_nothing_in_single_precision():
    scores = torch.tensor([[5.0, -5.0], [5.0, -5.0]])
    hole = torch.tensor([1.0, 0.0])
    attention, _ = attention_map(mask_scores(scores, hole, "paper"), hole)
    assert attention.tolist() == [[0, 1], [0, 1]]
