"""Programs of published forks against the reference, whatever a fork's code or weights change."""

from dataclasses import replace

import pytest
import torch
from test_graph import SCORE_TOLERANCE, TOLERANCE, UNWANTED, blobs, frame, photo, run_both, tiny

from rethined_export.models.rethined import Rethined
from rethined_export.models.rethined.config import AUTHORS, DIALECTS
from rethined_export.recipes.rethined.graph import ExportGraph

# Scores deviate by 3 here: a limit of 4 binds for many keys, and known tokens mix others in.
TIGHT = replace(DIALECTS["mikanquyt"], score_limit=4.0)
CHANGES = {
    "mikanquyt": {"dialect": TIGHT},
    "uncomposited": {"dialect": replace(TIGHT, composite=False, context="masked")},
    "full context": {"dialect": replace(AUTHORS, context="full")},
    "no features": {"feature_stage": None},
    "no coherence": {"coherence": False},
    "branches of Apple's S0": {"stage_branches": (1, 2, 2, 3, 2)},
}


def forked(name: str) -> Rethined:
    return tiny("published", 2, **CHANGES[name])


@pytest.fixture(scope="module", params=CHANGES)
def model(request) -> Rethined:
    return forked(request.param)


@pytest.mark.parametrize("hr,mode", [(512, "k1"), (1024, "k1"), (1024, "k4"), (1024, "dense")])
def test_equals_reference_with_the_same_keys(model, hr, mode):
    result = run_both(model, hr, blobs(hr), mode)
    assert (result.output - result.expected).abs().max() <= TOLERANCE
    assert result.output.std() > 0.01


@pytest.mark.parametrize("hr", [512, 1024])
def test_composited_programs_leave_known_pixels_bit_for_bit(hr):
    image, mask = photo(hr), frame(hr)
    graph = ExportGraph(forked("mikanquyt"), hr)
    assert graph.keeps_known
    with torch.no_grad():
        output = graph(image, mask)[0]
    known = mask.expand_as(image) == 0
    assert torch.equal(output[known], image[known])
    assert not ExportGraph(forked("uncomposited"), hr).keeps_known


def test_full_context_reads_under_the_mask_and_masked_does_not():
    mask = blobs(1024)
    other = torch.where(mask > 0, 1 - photo(1024), photo(1024))
    for name, reads in (("full context", True), ("no features", False)):
        graph = ExportGraph(forked(name), 1024)
        # Shrinking reaches over the edge of the mask in either: compare what is copied alone.
        scene = graph.describe(photo(1024), mask)
        low = torch.zeros(1, 3, 512, 512)
        keys = torch.arange(4096, dtype=torch.int32).reshape(1, -1, 1)
        made = [graph.finish(x, mask, scene, low, indices=keys) for x in (photo(1024), other)]
        assert torch.equal(*made) != reads


@pytest.mark.parametrize("top_k", [1, 3])
def test_mass_kept_is_the_share_of_the_softmax(top_k):
    model, image, mask = forked("mikanquyt"), photo(512), blobs(512)
    graph = ExportGraph(model, 512, "gather", top_k)
    with torch.no_grad():
        scene = graph.describe(image, mask)
        indices = graph.strongest(scene.scores)[1]
        reference = model(image, mask)
    asks = reference.hole > 0
    weights = torch.softmax(reference.scores.clamp(-4, 4), dim=1)[asks]
    expected = weights.gather(1, indices[0][asks].long()).sum(1).mean().item()
    # A score off by e moves its weight by 2·e times it.
    assert graph.mass_kept(scene, indices) == pytest.approx(expected, rel=2 * SCORE_TOLERANCE)
    assert graph.mass_kept(scene, indices) < 0.5
    assert ExportGraph(model, 512, "dense").mass_kept(scene, indices) == 1


def test_nothing_is_lost_without_a_hole():
    graph = ExportGraph(forked("no coherence"), 512)
    with torch.no_grad():
        scene = graph.describe(photo(512), torch.zeros(1, 1, 512, 512))
    assert graph.mass_kept(scene, torch.zeros(1, 4096, 1, dtype=torch.int32)) == 1


@pytest.mark.parametrize("mode", ["k4", "dense"])
def test_program_is_made_of_what_targets_have(mode):
    graph = ExportGraph(
        forked("mikanquyt"), 1024, *{"k4": ("gather", 4), "dense": ("dense",)}[mode]
    )
    exported = torch.export.export(graph, (photo(1024), blobs(1024))).run_decompositions({})
    nodes = list(exported.graph.nodes)
    names = {str(node.target) for node in nodes if node.op == "call_function"}
    assert not [name for name in names if any(word in name for word in UNWANTED)]
    values = [node.meta.get("val") for node in nodes]
    assert max(value.ndim for value in values if isinstance(value, torch.Tensor)) <= 4
    added = dict(exported.named_buffers()) | dict(exported.constants)
    assert sum(tensor.nbytes for tensor in added.values()) <= 2**20
