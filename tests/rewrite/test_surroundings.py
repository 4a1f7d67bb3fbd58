"""Surroundings picked by slices against the same unfolded."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import EPS, VALUES

from rethined_export.models.rethined import surroundings
from rethined_export.models.rethined.surroundings import WRONG_BIT
from rethined_export.rewrite.surroundings import Surroundings

#: Squares of a token and its margin, of nine row by row, as the twin has them.
ORDER = [0, 1, 3, 4, 2, 5, 6, 7, 8]


@settings(deadline=None, max_examples=15)
@given(
    share=st.floats(0, 1),
    closeness=st.sampled_from([1.0, 1000.0]),
    values=VALUES,
    seed=st.integers(0, 2**31),
)
def test_equals_unfolding(share, closeness, values, seed):
    """Planes are sums of 4 terms, squares means of 16; a query is a product over a sum of 9."""
    composite = values.draw(1, 3, 512, 512)
    mask = torch.rand(1, 1, 512, 512, generator=torch.Generator().manual_seed(seed)) < share
    expected = surroundings.Surroundings()(composite, mask.float())
    with torch.no_grad():
        actual = Surroundings(closeness)(composite, mask.float(), torch.ones(1, 1, 64, 64))
    most = 1 + composite.abs().max()
    for made, wanted, scale in zip(actual, expected, (closeness, 1), strict=True):
        by_square = wanted[0, :, :63].unflatten(1, (7, 9))[:, :, ORDER].mT.flatten(1)
        by_square = torch.cat([by_square, wanted[0, :, 63:64]], dim=1)
        error = made[0, :64].flatten(1).T - scale * by_square
        assert error.abs().max() <= 64 * EPS * scale * most**2
    places = [code[0, 64:].flatten(1).T for code in actual]
    wrong = places[0] @ places[1].T - closeness * expected[0][0, :, 64:] @ expected[1][0, :, 64:].T
    assert wrong.abs().max() <= 64 * EPS * closeness * WRONG_BIT
