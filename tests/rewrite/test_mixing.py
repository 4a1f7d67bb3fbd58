"""Dense mixing in rank 4 against fold, matrix product and unfold."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import VALUES, Values, assert_within, rounding

from rethined_export.models.rethined.attention import attention_map
from rethined_export.models.rethined.filters import fold, unfold
from rethined_export.rewrite.mixing import dense_mix


@settings(deadline=None, max_examples=60)
@given(
    patch=st.integers(1, 8),
    rows=st.integers(1, 8),
    columns=st.integers(1, 8),
    channels=st.integers(1, 4),
    spread=st.sampled_from([0.0, 1.0, 30.0]),
    values=VALUES,
)
def test_equals_fold_of_product(patch, rows, columns, channels, spread, values):
    """Sums of N terms with weights that sum to one."""
    x = values.draw(1, channels, patch * rows, patch * columns)
    tokens = rows * columns
    scores = Values(values.seed, spread, 0.0).draw(tokens, tokens)
    attention = torch.softmax(scores, dim=1)
    expected = fold(attention @ unfold(x, patch), patch, *x.shape[2:])
    actual = dense_mix(x, attention, patch)
    assert_within(actual, expected, rounding(tokens, x))


@pytest.mark.parametrize("patch", [8, 16])
def test_equals_fold_of_product_on_the_full_grid(patch):
    x = torch.randn(1, 3, 64 * patch, 64 * patch, generator=torch.Generator().manual_seed(patch))
    scores = Values(patch, 3.0, 0.0).draw(4096, 4096)
    hole = (torch.arange(4096) % 3 == 0).float()
    attention, _ = attention_map(scores, hole)
    expected = fold(attention @ unfold(x, patch), patch, *x.shape[2:])
    actual = dense_mix(x, attention, patch)
    assert_within(actual, expected, rounding(4096, x))


def test_permutations_move_whole_patches():
    """Queries lie along the rows: token 0 takes what row 0 points at."""
    x = torch.arange(3 * 4 * 4.0).reshape(1, 3, 4, 4)
    order = torch.tensor([2, 0, 3, 1])
    expected = fold(unfold(x, 2)[order], 2, 4, 4)
    assert torch.equal(dense_mix(x, torch.eye(4)[order], 2), expected)
