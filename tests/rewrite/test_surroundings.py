"""Surroundings picked by slices against the same unfolded."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import EPS, VALUES

from rethined_export.models.rethined import surroundings
from rethined_export.models.rethined.surroundings import WRONG_BIT
from rethined_export.quality.scenes import bundled
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
    for made, wanted, scale, joined in zip(
        actual, expected, (closeness, 1), (torch.mean, torch.sum), strict=True
    ):
        by_square = wanted[0, :, :63].unflatten(1, (7, 9))[:, :, ORDER].mT
        found = made[0, :72].flatten(1).T.unflatten(1, (9, 8))
        # Energy is two numbers; what a query multiplies them with is the same.
        energy = joined(found[..., 6:], dim=2, keepdim=True)
        found = torch.cat([found[..., :6], energy], dim=2)
        bound = 64 * EPS * scale * most**2
        assert (found - scale * by_square).abs().max() <= bound
        assert (made[0, 72].flatten() - scale * wanted[0, :, 63]).abs().max() <= bound
    places = [code[0, 73:].flatten(1).T for code in actual]
    wrong = places[0] @ places[1].T - closeness * expected[0][0, :, 64:] @ expected[1][0, :, 64:].T
    assert wrong.abs().max() <= 64 * EPS * closeness * WRONG_BIT


@pytest.mark.parametrize(("photo", "most"), [("astronaut", 0.02), ("coffee", 0.008)])
def test_in_half_precision_nearly_every_choice_is_the_same(photo, most):
    """By distance alone, among all tokens. With energy in one number 5 and 2 % choose another."""
    composite = next(case.image for case in bundled().cases(512, 0) if case.photo == photo)
    mask, one = torch.zeros(1, 1, 512, 512), torch.ones(1, 1, 64, 64)
    mask[..., 200:300, 200:300] = 1
    twin = Surroundings(surroundings.CLOSENESS)
    chosen = []
    for dtype in (torch.float32, torch.float16):
        given = [x.half().to(dtype) for x in (composite, mask, one)]
        queries, keys = twin.to(dtype)(*given)
        scores = queries[0].flatten(1).T.double() @ keys[0].flatten(1).double()
        chosen.append(scores.fill_diagonal_(-torch.inf).argmax(1))
    assert (chosen[0] != chosen[1]).double().mean() < most
