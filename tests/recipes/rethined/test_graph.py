"""The exported program against the reference with the same keys, and what it is made of."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from forms import FORMS
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from twins import EPS

from rethined_export.models.rethined import (
    PATCH,
    TOKENS,
    VARIANTS,
    Rethined,
    untrained,
)
from rethined_export.recipes.rethined.graph import ExportGraph

PHOTOS = Path(__file__).parents[2] / "data" / "photos"

#: Largest difference of a pixel between two orders of summation, through some 30 layers.
TOLERANCE = 1e-5
#: Largest difference of an attention score, which the layers above magnify about tenfold.
SCORE_TOLERANCE = 3e-4

MODES = {"k1": ("gather", 1), "k4": ("gather", 4), "dense": ("dense", 1)}
SIZES = [512, 1024, pytest.param(2048, marks=pytest.mark.slow)]


@functools.cache
def photo(hr: int) -> Tensor:
    pixels = Image.open(PHOTOS / "astronaut.jpg").convert("RGB").resize((hr, hr))
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].contiguous() / 255


def blobs(hr: int) -> Tensor:
    """Free-form holes over a third of the image, with edges inside patches and pixels."""
    noise = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(1))
    return (F.interpolate(noise, size=hr, mode="bicubic") > 0.6).float()


def frame(hr: int) -> Tensor:
    """A hole along all four borders, in every corner."""
    mask = torch.ones(1, 1, hr, hr)
    mask[:, :, 21:-37, 13:-3] = 0
    return mask


def one_pixel(hr: int) -> Tensor:
    """A hole of one pixel, not the first of its patch."""
    mask = torch.zeros(1, 1, hr, hr)
    mask[:, :, hr // 2 + 3, hr // 3] = 1
    return mask


def corner_pixel(hr: int) -> Tensor:
    """A hole of one pixel that is the first of the last patch but one."""
    mask = torch.zeros(1, 1, hr, hr)
    side = hr // 64
    mask[:, :, -2 * side, -2 * side] = 1
    return mask


def all_but_one_patch(hr: int) -> Tensor:
    """Fewer known tokens than four: the rest of the strongest keys are forbidden ones."""
    mask = torch.ones(1, 1, hr, hr)
    mask[:, :, : hr // 64, : hr // 64] = 0
    return mask


def no_hole(hr: int) -> Tensor:
    return torch.zeros(1, 1, hr, hr)


MASKS = (blobs, frame, one_pixel, corner_pixel, all_but_one_patch, no_hole)
every_mask = pytest.mark.parametrize("mask", MASKS, ids=lambda mask: mask.__name__)
every_form = pytest.mark.parametrize("form", FORMS)


@dataclass(frozen=True)
class Compared:
    """The graph's outputs beside the reference's with the same keys.

    Attributes:
        queries: which tokens are hole tokens, ``[Q]``.
        keys, scores: the graph's, of those tokens, ``[Q, k]``; None for dense attention.
        reference_scores: ``[Q, N]``.
        hole: flags of all tokens.
    """

    output: Tensor
    expected: Tensor
    queries: Tensor
    keys: Tensor | None
    scores: Tensor | None
    reference_scores: Tensor
    hole: Tensor


def run_both(model: Rethined, hr: int, mask: Tensor, mode: str) -> Compared:
    with torch.no_grad():
        output, *chosen = ExportGraph(model, hr, *MODES[mode])(photo(hr), mask)
        indices = chosen[0][0].long() if chosen else None
        reference = model(photo(hr), mask, indices=indices)
    queries = reference.hole.nonzero()[:, 0]
    keys, scores = (indices[queries], chosen[1][0, queries]) if chosen else (None, None)
    return Compared(
        output,
        reference.output,
        queries,
        keys,
        scores,
        reference.scores[queries],
        reference.hole,
    )


Compare = Callable[[str, int, Callable[[int], Tensor], str], Compared]


@pytest.fixture(scope="module")
def compare(models) -> Compare:
    """Form, size, mask and mode to both results; each pair is computed once."""

    @functools.cache
    def cached(form: str, hr: int, mask: Callable[[int], Tensor], mode: str) -> Compared:
        return run_both(models[form], hr, mask(hr), mode)

    return cached


def furthest(result: Compared) -> float:
    return (result.output - result.expected).abs().max().item()


@pytest.mark.parametrize("hr", SIZES)
@pytest.mark.parametrize("mode", MODES)
@every_form
def test_equals_reference_with_the_same_keys(compare, form, hr, mode):
    result = compare(form, hr, blobs, mode)
    inside = blobs(hr).expand_as(result.output) > 0
    assert (result.output - result.expected)[inside].abs().max() <= TOLERANCE
    assert furthest(result) <= TOLERANCE
    assert result.output.shape == (1, 3, hr, hr)
    assert result.output[inside].std() > 0.01, "nothing was compared but a constant"


@every_mask
@every_form
def test_equals_reference_for_any_hole(compare, form, mask):
    assert furthest(compare(form, 512, mask, "k1")) <= TOLERANCE


@pytest.mark.parametrize("mask", [frame, one_pixel], ids=lambda mask: mask.__name__)
@every_form
def test_equals_reference_at_high_resolution_for_holes_at_the_border(compare, form, mask):
    assert furthest(compare(form, 1024, mask, "k1")) <= TOLERANCE


@every_form
def test_more_keys_than_known_tokens(compare, form):
    """Forbidden keys among the strongest weigh nothing."""
    result = compare(form, 512, all_but_one_patch, "k4")
    assert furthest(result) <= TOLERANCE


@pytest.mark.parametrize(
    "mode,mask", [*(("k1", mask) for mask in MASKS), ("k4", blobs), ("dense", blobs)]
)
@pytest.mark.parametrize("hr", SIZES)
def test_paper_leaves_known_pixels_bit_for_bit(models, hr, mode, mask):
    upscale, k = MODES[mode]
    image, hole = photo(hr), mask(hr)
    with torch.no_grad():
        output = ExportGraph(models["paper"], hr, upscale, k)(image, hole)[0]
    known = hole.expand_as(image) == 0
    assert torch.equal(output[known], image[known])


@pytest.mark.parametrize("hr", [512, 1024])
@pytest.mark.parametrize("form", ["paper", "shipped"])
def test_paper_never_reads_under_the_hole(models, form, hr):
    graph, mask = ExportGraph(models[form], hr), blobs(hr)
    other = torch.where(mask > 0, 1 - photo(hr), photo(hr))
    with torch.no_grad():
        for plain, changed in zip(graph(photo(hr), mask), graph(other, mask), strict=True):
            assert torch.equal(plain, changed)


@pytest.mark.parametrize("mask", [blobs, frame, one_pixel], ids=lambda mask: mask.__name__)
def test_paper_fills_from_known_tokens_only(compare, mask):
    result = compare("paper", 512, mask, "k1")
    assert len(result.keys)
    assert not result.hole[result.keys].any()


@pytest.mark.parametrize("mask", [blobs, frame, corner_pixel], ids=lambda mask: mask.__name__)
def test_published_never_fills_from_itself(compare, mask):
    """Other hole tokens are allowed, as in the authors' code."""
    result = compare("published", 512, mask, "k4")
    assert len(result.keys)
    assert (result.keys != result.queries[:, None]).all()


@pytest.mark.parametrize("mode", ["k1", "k4"])
@every_form
def test_keys_are_the_strongest_of_the_reference(compare, form, mode):
    """Equal but for ties closer than the scores' own rounding; their scores are reported."""
    result = compare(form, 512, blobs, mode)
    scores, keys = result.reference_scores, result.keys
    best = scores.topk(keys.shape[1], dim=1).values
    found = scores.gather(1, keys)
    assert (found - best).abs().max() <= SCORE_TOLERANCE
    assert (result.scores - found).abs().max() <= SCORE_TOLERANCE
    assert (keys.sort(1).values.diff(dim=1) > 0).all(), "a key was taken twice"


@pytest.mark.parametrize("mask,flagged", [(one_pixel, False), (corner_pixel, True)])
def test_hole_tokens_of_one_pixel(models, mask, flagged):
    """Any pixel makes a hole token in the paper's variant, only the first in the published one."""
    flags = {
        variant: ExportGraph(models[variant], 512).describe(photo(512), mask(512)).hole.sum()
        for variant in VARIANTS
    }
    assert flags == {"paper": 1, "published": int(flagged)}


def tiny(form: str, stage: int, **changes: object) -> Rethined:
    changed = {"feature_stage": stage} | changes
    return untrained(replace(FORMS[form], **changed), seed=stage)


@pytest.mark.parametrize("form,stage", [*(("paper", s) for s in range(5)), ("published", 3)])
def test_features_of_any_stage(form, stage):
    """Every stride is brought to the token grid as the reference does."""
    assert furthest(run_both(tiny(form, stage), 512, blobs(512), "k1")) <= TOLERANCE


def test_odd_scale(compare):
    """The paper's variant takes any whole scale; the plain resize rounds positions up to 512."""
    assert furthest(compare("paper", 1536, blobs, "k1")) <= 512 * EPS


def test_published_refuses_odd_scales(models):
    with pytest.raises(ValueError, match="odd"):
        ExportGraph(models["published"], 1536)


@every_form
def test_model_is_copied(form):
    """Re-parameterising the graph leaves the reference in its training form."""
    model = tiny(form, 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    graph = ExportGraph(model, 512)
    graph.project.patch.weight.zero_()
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("mode,names", [("k1", 3), ("k4", 3), ("dense", 1)])
def test_outputs_are_named(models, mode, names):
    upscale, k = MODES[mode]
    graph = ExportGraph(models["paper"], 512, upscale, k)
    with torch.no_grad():
        outputs = graph(photo(512), blobs(512))
    assert len(graph.output_names) == len(outputs) == names
    if names == 3:
        assert [tuple(output.shape) for output in outputs[1:]] == [(1, TOKENS, k)] * 2
        assert outputs[1].dtype == torch.int32


# --- What the program is made of --------------------------------------------------------------

#: Operators that some target lacks, or that hide a large constant.
UNWANTED = ("eye", "arange", "scatter", "fold", "im2col", "col2im", "unshuffle", "where", "diag")
MEGABYTE = 2**20


PROGRAMS = [
    ("paper", 512, "k1"),
    ("paper", 1024, "k1"),
    ("paper", 1024, "dense"),
    ("shipped", 512, "k1"),
    ("published", 1024, "k1"),
    ("published", 1024, "k4"),
]


@dataclass(frozen=True)
class Program:
    """An exported program and how it was made."""

    form: str
    hr: int
    mode: str
    exported: torch.export.ExportedProgram


@pytest.fixture(scope="module", params=PROGRAMS, ids=lambda made: "-".join(map(str, made)))
def program(request, models) -> Program:
    """The operators of the graph as converters see them; no table splits them further."""
    form, hr, mode = request.param
    graph = ExportGraph(models[form], hr, *MODES[mode])
    exported = torch.export.export(graph, (photo(hr), blobs(hr)))
    return Program(form, hr, mode, exported.run_decompositions({}))


def test_no_tensor_has_more_than_four_dimensions(program):
    """GPU delegates stop at rank 4; a pixel shuffle stays one operator and so shows none."""
    tensors = [
        (node.name, tensor.shape)
        for node in program.exported.graph.nodes
        for tensor in _tensors(node.meta.get("val"))
    ]
    assert len(tensors) > 100
    assert not [(name, shape) for name, shape in tensors if len(shape) > 4]


def _tensors(value: object) -> list[Tensor]:
    if isinstance(value, tuple | list):
        return [tensor for part in value for tensor in _tensors(part)]
    return [value] if isinstance(value, Tensor) else []


def test_operators_run_on_every_target(program):
    names = {
        str(node.target) for node in program.exported.graph.nodes if node.op == "call_function"
    }
    assert "aten.pixel_shuffle.default" in names
    assert "aten.embedding.default" in names or program.mode == "dense"
    assert not [name for name in names if any(word in name for word in UNWANTED)]
    assert ("aten.topk.default" in names) == (program.mode == "k4")


def test_no_large_constants(program):
    """Only trained weights may be large; what the rewrite adds stays small at any resolution."""
    exported = program.exported
    added = dict(exported.named_buffers()) | dict(exported.constants)
    sizes = {name: tensor.nbytes for name, tensor in added.items()}
    assert sizes
    assert max(sizes.values()) <= MEGABYTE, sizes
    assert sum(sizes.values()) <= MEGABYTE, sizes


def test_program_computes_the_same(models, program):
    """On another mask than it was exported with: nothing was frozen."""
    graph = ExportGraph(models[program.form], program.hr, *MODES[program.mode])
    inputs = (photo(program.hr), frame(program.hr))
    with torch.no_grad():
        pairs = zip(program.exported.module()(*inputs), graph(*inputs), strict=True)
        assert all(torch.equal(actual, expected) for actual, expected in pairs)


@every_form
def test_patches_divide_the_image(models, form):
    """The high-resolution patch is the low-resolution one, s times."""
    graph = ExportGraph(models[form], 1024)
    assert graph.gather_low.patch == PATCH
    assert graph.gather_high.patch == 2 * PATCH
