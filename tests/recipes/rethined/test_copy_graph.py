"""The copying network's program against its reference with the same keys."""

import pytest
import torch
from test_graph import (
    MASKS,
    SCORE_TOLERANCE,
    TOLERANCE,
    UNWANTED,
    blobs,
    frame,
    no_hole,
    one_pixel,
    photo,
)
from twins import EPS

from rethined_export.models.rethined import TOKENS
from rethined_export.models.rethined.copying import CopyConfig, CopyModel, untrained_copy
from rethined_export.recipes.rethined.copying import CopyGraph

MEGABYTE = 2**20


@pytest.fixture(scope="module")
def model() -> CopyModel:
    """Narrow: the widths change no code path."""
    return untrained_copy(CopyConfig(widths=(16, 24, 32, 40, 48), head=8, d_k=64))


def checkered(hr: int) -> torch.Tensor:
    """Every other row of pixels, so that every token is touched at full resolution, and a blob."""
    mask = blobs(hr)
    mask[:, :, 1::2] = 1
    return mask


def everything(hr: int) -> torch.Tensor:
    return torch.ones(1, 1, hr, hr)


CASES = [
    *((512, mask) for mask in (blobs, frame, one_pixel, no_hole, everything)),
    *((1024, mask) for mask in (frame, checkered)),
    *(pytest.param(2048, mask, marks=pytest.mark.slow) for mask in MASKS),
]


@pytest.mark.parametrize("hr,mask", CASES)
def test_equals_the_reference(model, hr, mask):
    image, hole = photo(hr), mask(hr)
    graph = CopyGraph(model, hr)
    with torch.no_grad():
        output, indices, scores = graph(image, hole)
        expected = model(image, hole, indices=indices[0].long())
    assert indices.shape == scores.shape == (1, TOKENS, 1)
    assert indices.dtype == torch.int32
    asks = expected.hole > 0
    assert (output - expected.output).abs().max() <= TOLERANCE
    known = hole.expand_as(image) == 0
    assert torch.equal(output[known], image[known])
    table = expected.scores[asks]
    found = table.gather(1, indices[0][asks].long())
    if asks.any():
        tolerance = SCORE_TOLERANCE + EPS * found.abs().max()  # where all keys are forbidden
        assert (found[:, 0] - table.max(1).values).abs().max() <= tolerance
        assert (scores[0][asks] - found).abs().max() <= tolerance
    if not asks.all():
        assert not expected.hole[indices[0, asks, 0].long()].any()


def test_given_keys_are_used(model):
    """What parity does with an artifact's own choice."""
    image, hole = photo(1024), blobs(1024)
    graph = CopyGraph(model, 1024)
    with torch.no_grad():
        scene = graph.describe(image, hole)
        known = (scene.hole.flatten() == 0).nonzero()[:, 0]
        others = known[torch.arange(TOKENS) * 7 % len(known)].to(torch.int32).reshape(1, -1, 1)
        actual = graph.complete(image, hole, scene, others, torch.zeros(1, TOKENS, 1))
        expected = model(image, hole, indices=others[0].long()).output
        plain = graph(image, hole)[0]
    assert (actual - expected).abs().max() <= TOLERANCE
    assert (actual - plain).abs().max() > 0.1
    assert graph.mass_kept(scene, others) == 1


def test_odd_scales_are_refused(model):
    with pytest.raises(ValueError, match="odd"):
        CopyGraph(model, 1536)


def test_program_is_made_of_what_targets_have(model):
    """Rank 4 or less, no large constant, and nothing frozen from the mask it was made with."""
    hr = 1024
    graph = CopyGraph(model, hr)
    exported = torch.export.export(graph, (photo(hr), blobs(hr))).run_decompositions({})
    nodes = list(exported.graph.nodes)
    names = {str(node.target) for node in nodes if node.op == "call_function"}
    assert not [name for name in names if any(word in name for word in UNWANTED)]
    values = [node.meta.get("val") for node in nodes]
    assert max(value.ndim for value in values if isinstance(value, torch.Tensor)) <= 4
    added = dict(exported.named_buffers()) | dict(exported.constants)
    assert sum(tensor.nbytes for tensor in added.values()) <= MEGABYTE
    with torch.no_grad():
        pairs = zip(
            exported.module()(photo(hr), frame(hr)), graph(photo(hr), frame(hr)), strict=True
        )
        assert all(torch.equal(actual, expected) for actual, expected in pairs)
