"""The gather of whole patches against mixing with a dense map."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from twins import VALUES, Values, assert_within, rounding

from rethined_export.models.rethined.attention import attention_map
from rethined_export.models.rethined.filters import fold, unfold
from rethined_export.rewrite.gather import PatchGather

PATCHES = st.integers(1, 9)
GRIDS = st.integers(1, 8)


def dense(x: Tensor, attention: Tensor, patch: int) -> Tensor:
    return fold(attention @ unfold(x, patch), patch, *x.shape[2:])


def picked(x: Tensor, keys: Tensor, patch: int) -> Tensor:
    """Plain copies: token i becomes patch ``keys[i]``."""
    return fold(unfold(x, patch)[keys], patch, *x.shape[2:])


def as_graph(keys: Tensor) -> Tensor:
    """``[N, k]`` as the graph passes keys on: int32 ``[1, N, k]``."""
    return keys.to(torch.int32)[None]


@settings(deadline=None, max_examples=60)
@given(patch=PATCHES, grid=GRIDS, values=VALUES)
def test_one_key_copies_bit_for_bit(patch, grid, values):
    x = values.draw(1, 3, patch * grid, patch * grid)
    generator = torch.Generator().manual_seed(values.seed)
    keys = torch.randint(grid**2, (grid**2,), generator=generator)
    actual = PatchGather(patch, grid)(x, as_graph(keys[:, None]), None)
    assert torch.equal(actual, picked(x, keys, patch))


@settings(deadline=None, max_examples=40)
@given(patch=PATCHES, grid=GRIDS, values=VALUES)
def test_one_key_equals_the_dense_map_bit_for_bit(patch, grid, values):
    """A row with a single weight of 1 sums one value and zeros, which rounds nothing."""
    x = values.draw(1, 3, patch * grid, patch * grid)
    tokens = grid**2
    scores = Values(values.seed, 3.0, 0.0).draw(tokens, tokens)
    attention, keys = attention_map(scores, torch.ones(tokens), top_k=1)
    actual = PatchGather(patch, grid)(x, as_graph(keys), None)
    assert torch.equal(actual, dense(x, attention, patch))


@settings(deadline=None, max_examples=60)
@given(
    patch=PATCHES,
    grid=st.integers(2, 8),
    k=st.integers(2, 4),
    spread=st.sampled_from([0.1, 3.0, 100.0]),
    values=VALUES,
)
def test_several_keys_equal_the_dense_map(patch, grid, k, spread, values):
    """k products and sums a side; the zero weights of the dense row round nothing."""
    x = values.draw(1, 3, patch * grid, patch * grid)
    tokens = grid**2
    scores = Values(values.seed, spread, 0.0).draw(tokens, tokens)
    attention, keys = attention_map(scores, torch.ones(tokens), top_k=k)
    weights = torch.softmax(scores.gather(1, keys), dim=1)
    actual = PatchGather(patch, grid)(x, as_graph(keys), weights[None])
    assert_within(actual, dense(x, attention, patch), rounding(2 * k, x))


@settings(deadline=None, max_examples=30)
@given(patch=PATCHES, grid=st.integers(2, 8), values=VALUES, data=st.data())
def test_known_tokens_that_attend_to_themselves_stay(patch, grid, values, data):
    """Rows of ``attention_map``: identity where known, one key elsewhere."""
    x = values.draw(1, 3, patch * grid, patch * grid)
    tokens = grid**2
    flags = data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=tokens, max_size=tokens))
    hole = torch.tensor(flags)
    scores = Values(values.seed, 3.0, 0.0).draw(tokens, tokens)
    attention, keys = attention_map(scores, hole, top_k=1)
    keys = torch.where(hole > 0, keys[:, 0], torch.arange(tokens))
    actual = PatchGather(patch, grid)(x, as_graph(keys[:, None]), None)
    assert torch.equal(actual, dense(x, attention, patch))


@pytest.mark.parametrize("key", [0, 1, 63, 64, 2047, 4032, 4095])
@pytest.mark.parametrize("patch", [8, 16])
def test_every_token_can_take_any_patch_of_the_full_grid(patch, key):
    """The first and the last patch, and both ends of a row of them."""
    x = torch.rand(1, 3, 64 * patch, 64 * patch, generator=torch.Generator().manual_seed(key))
    keys = torch.full((4096,), key)
    actual = PatchGather(patch, 64)(x, as_graph(keys[:, None]), None)
    assert torch.equal(actual, picked(x, keys, patch))


def test_own_keys_give_the_image_back():
    x = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    assert torch.equal(PatchGather(8, 64)(x, as_graph(torch.arange(4096)[:, None]), None), x)


def test_offsets_stay_within_int32_at_4096():
    """The largest table row of the largest export: the last row of the last patch."""
    gather = PatchGather(64, 64)
    last = gather.plane_offsets.max().item() + gather.row_offsets.max().item()
    last += 4095 + 63 * (64 * 64 - 64)
    assert last == 3 * 4096 * 64 - 1
    assert gather.row_offsets.dtype == gather.plane_offsets.dtype == torch.int32
