"""Hole tokens alone against the whole grid."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_graph import MASKS, SIZES, TOLERANCE, blobs, frame, photo

from rethined_export.models.rethined import GRID, TOKENS
from rethined_export.recipes.rethined.dropin import HoleGraph, HoleList, PatchPaste
from rethined_export.recipes.rethined.graph import ExportGraph
from rethined_export.recipes.rethined.holes import Choosing, neighbours


@settings(deadline=None, max_examples=60)
@given(
    share=st.sampled_from([0.0, 0.001, 0.05, 0.3, 1.0]),
    budget=st.sampled_from([1, 41, 409, 4096]),
    seed=st.integers(0, 2**31),
)
def test_list_of_hole_tokens(share, budget, seed):
    generator = torch.Generator().manual_seed(seed)
    hole = (torch.rand(1, 1, GRID, GRID, generator=generator) < share).float()
    tokens, places, left = HoleList(budget)(hole)
    expected = hole.flatten().nonzero()[:, 0]
    kept = expected[:budget]
    assert tokens.shape == (budget,) and tokens.dtype == places.dtype == left.dtype == torch.int32
    assert torch.equal(tokens[: len(kept)].long(), kept)
    assert ((tokens >= 0) & (tokens < TOKENS)).all()
    wanted = torch.full((TOKENS,), budget, dtype=torch.int32)
    wanted[kept] = torch.arange(len(kept), dtype=torch.int32)
    assert torch.equal(places, wanted)
    assert left.item() == max(len(expected) - budget, 0)


@settings(deadline=None, max_examples=10)
@given(patch=st.sampled_from([8, 16]), count=st.integers(1, 60), seed=st.integers(0, 2**31))
def test_paste_equals_assignment(patch, count, seed):
    generator = torch.Generator().manual_seed(seed)
    side = patch * GRID
    x = torch.rand(1, 3, side, side, generator=generator)
    patches = torch.rand(count, patch, 3, patch, generator=generator)
    tokens = torch.randperm(TOKENS, generator=generator)[: count // 2 + 1][:count]
    places = torch.full((TOKENS,), count, dtype=torch.int32)
    places[tokens] = torch.arange(len(tokens), dtype=torch.int32)
    expected = x.clone()
    for place, token in enumerate(tokens.tolist()):
        top, left = (at * patch for at in divmod(token, GRID))
        expected[0, :, top : top + patch, left : left + patch] = patches[place].transpose(0, 1)
    assert torch.equal(PatchPaste(patch)(x, patches, places), expected)


def test_neighbours_are_reflected_at_the_border():
    near = neighbours().long()
    assert near[0].tolist() == [65, 64, 65, 1, 0, 1, 65, 64, 65]
    assert near[65].tolist() == [0, 1, 2, 64, 65, 66, 128, 129, 130]


def test_published_variant_is_refused(models):
    with pytest.raises(ValueError, match="published"):
        Choosing(models["published"])


@pytest.mark.parametrize("mask", MASKS[:-1], ids=lambda mask: mask.__name__)
@pytest.mark.parametrize("form,k", [("paper", 1), ("paper", 4), ("shipped", 1)])
def test_equals_the_whole_grid(models, form, mask, k):
    """Same keys, same image as the program that computes every token."""
    image, hole = photo(512), mask(512)
    with torch.no_grad():
        expected, keys, scores = ExportGraph(models[form], 512, "gather", k)(image, hole)
        graph = HoleGraph(models[form], 512, TOKENS, k)
        actual, own, theirs, left = graph(image, hole)
    asks = torch.nn.functional.max_pool2d(hole, 8).flatten() > 0
    assert left.item() == 0
    assert torch.equal(own[0, asks], keys[0, asks])
    assert (theirs - scores)[0, asks].abs().max() <= TOLERANCE * scores[0, asks].abs().max()
    assert (actual - expected).abs().max() <= TOLERANCE
    assert torch.equal(actual[:, :, hole[0, 0] == 0], image[:, :, hole[0, 0] == 0])


@pytest.mark.parametrize("hr", SIZES[1:])
@pytest.mark.parametrize("mask", [blobs, frame], ids=lambda mask: mask.__name__)
@pytest.mark.parametrize("k", [1, 3])
def test_equals_the_whole_image(models, hr, mask, k):
    image, hole = photo(hr), mask(hr)
    with torch.no_grad():
        expected = ExportGraph(models["paper"], hr, "gather", k)(image, hole)[0]
        actual = HoleGraph(models["paper"], hr, TOKENS, k)(image, hole)[0]
    assert (actual - expected).abs().max() <= TOLERANCE
    known = hole.expand_as(image) == 0
    assert torch.equal(actual[known], image[known])


def test_tokens_over_the_budget_are_told_and_left(models):
    image, hole = photo(512), blobs(512)
    count = int((torch.nn.functional.max_pool2d(hole, 8) > 0).sum())
    with torch.no_grad():
        exact = HoleGraph(models["paper"], 512, count)(image, hole)
        short = HoleGraph(models["paper"], 512, count - 100)(image, hole)
    assert exact[3].item() == 0
    assert short[3].item() == 100
