"""Pixels chosen without a gather against indexing."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rethined_export.rewrite.choose import ChosenPixels
from tests.twins import VALUES

ODD = st.lists(st.integers(0, 11), min_size=1, max_size=20).map(sorted)
EVEN = st.builds(range, st.integers(0, 3), st.integers(4, 12), st.integers(1, 4))


@settings(deadline=None, max_examples=60)
@given(rows=ODD | EVEN, columns=ODD | EVEN, values=VALUES)
def test_equals_indexing(rows, columns, values):
    """Exactly: a product with 1, and sums with zeros."""
    x = values.draw(2, 3, 12, 12)
    made = ChosenPixels(rows, columns, 12, 12)(x)
    assert torch.equal(made, x[:, :, list(rows)][:, :, :, list(columns)])


def test_even_steps_need_no_matrix():
    assert not dict(ChosenPixels(range(0, 12, 3), range(12), 12, 12).named_buffers())
    buffers = dict(ChosenPixels([0, 1, 3], [2, 2], 12, 12).named_buffers())
    assert {name: tuple(x.shape) for name, x in buffers.items()} == {
        "row_matrix": (3, 12),
        "column_matrix": (12, 2),
    }
