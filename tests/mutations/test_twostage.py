"""Broken artifacts of the two-stage system are caught by the numbers.

By default with narrow networks; the slow ones are the real networks, by ``rethined-parity``.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from rethined_export.cli import export as export_cli
from rethined_export.converters import converter
from rethined_export.parity.report import check_parity
from rethined_export.recipes.twostage import RECIPE
from rethined_export.recipes.types import Reference
from tests.copies import copied
from tests.mutations.test_onnx import Mutation, bgr, mask_polarity, nodes, store
from tests.recipes.artifacts import made
from tests.recipes.twostage.narrow import OPTIONS, narrow, write


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX artifact of narrow networks."""
    return made(write, "onnx", "whole", tmp_path_factory.mktemp("twostage"))


@pytest.fixture(scope="module")
def onnx_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX artifact of the stand-in at 256."""
    folder = tmp_path_factory.mktemp("twostage")
    options = ["--model", "two-stage", "--untrained", "--size", "256x256", "--target", "onnx"]
    assert export_cli.main([*options, "--no-verify", "--output", str(folder)]) == 0
    return folder / "two-stage-untrained-places2-256-fp32.onnx"


def stack(model: onnx.ModelProto) -> onnx.NodeProto:
    """What joins the mask, the filled image, four copies and their masks."""
    return max(nodes(model, "Concat"), key=lambda node: len(node.input))


def copy(model: onnx.ModelProto, number: int) -> onnx.NodeProto:
    """The padding that makes a copy, or its mask: 0 to 7 in the order of the channels."""
    name = stack(model).input[2 + number]
    return next(node for node in nodes(model, "Pad") if node.output[0] == name)


def constant(model: onnx.ModelProto, node: onnx.NodeProto, place: int, values: np.ndarray) -> None:
    """Give one of a node's inputs a constant of its own."""
    before = next(x for x in model.graph.initializer if x.name == node.input[place])
    changed = np.asarray(values, numpy_helper.to_array(before).dtype)
    assert not np.array_equal(changed, numpy_helper.to_array(before))
    name = f"{node.name}_{place}_mutated"
    model.graph.initializer.append(numpy_helper.from_array(changed, name))
    node.input[place] = name


def left_before_right(model: onnx.ModelProto) -> None:
    names = list(stack(model).input)
    stack(model).input[:] = [*names[:6], *names[8:10], *names[6:8]]


def masks_behind_all_images(model: onnx.ModelProto) -> None:
    """20 channels all the same."""
    names = list(stack(model).input)
    stack(model).input[:] = [*names[:2], *names[2::2], *names[3::2]]


def emptied_bands_black(model: onnx.ModelProto) -> None:
    """0 where the original has 1 of 255."""
    for number in (0, 2, 4, 6):
        constant(model, copy(model, number), 2, np.array(0.0))


def emptied_bands_known(model: onnx.ModelProto) -> None:
    for number in (1, 3, 5, 7):
        constant(model, copy(model, number), 2, np.array(0.0))


def moved_the_other_way(model: onnx.ModelProto) -> None:
    """Rows that were moved up have their band above."""
    upper = copy(model, 0)
    stored = next(x for x in model.graph.initializer if x.name == upper.input[1])
    pads = numpy_helper.to_array(stored)
    constant(model, upper, 1, pads.reshape(2, 4)[::-1].reshape(-1))


def guess_enlarged_by_nearest_neighbours(model: onnx.ModelProto) -> None:
    [resize] = [
        node
        for node in nodes(model, "Resize")
        if any(a.name == "mode" and a.s == b"linear" for a in node.attribute)
    ]
    for attribute in resize.attribute:
        if attribute.name == "mode":
            attribute.s = b"nearest"


def taps_of_the_last_decoder_reversed(model: onnx.ModelProto) -> None:
    last = nodes(model, "ConvTranspose")[-1]
    stored = next(x for x in model.graph.initializer if x.name == last.input[1])
    store(stored, numpy_helper.to_array(stored)[:, :, ::-1])


QUICK = [
    left_before_right,
    emptied_bands_black,
    emptied_bands_known,
    guess_enlarged_by_nearest_neighbours,
    taps_of_the_last_decoder_reversed,
]
OTHERS = [masks_behind_all_images, moved_the_other_way, mask_polarity, bgr]


def failures(path: Path) -> list[str]:
    """Gates that an artifact misses on one photo."""
    judge = RECIPE.judge(OPTIONS, Reference(narrow(), "untrained", ""))
    scene = next(iter(RECIPE.scenes(OPTIONS, None, None)))
    with converter("onnx").load(path, 1) as runtime:
        return check_parity(judge, RECIPE.caller(OPTIONS, {"whole": runtime}), "", [scene]).failures


@pytest.mark.conversion
def test_the_narrow_artifact_passes(artifact: Path) -> None:
    assert not failures(artifact)


@pytest.mark.conversion
@pytest.mark.parametrize(
    "mutation", [*QUICK, *(pytest.param(other, marks=pytest.mark.slow) for other in OTHERS)]
)
def test_narrow_mutation_is_caught(mutation: Mutation, artifact: Path, tmp_path: Path) -> None:
    model = onnx.load(artifact)
    mutation(model)
    onnx.save(model, tmp_path / "whole.onnx")
    assert failures(tmp_path / "whole.onnx")


@pytest.mark.slow
def test_the_artifact_itself_passes(onnx_artifact: Path, judge: Callable[[Path], int]) -> None:
    assert judge(onnx_artifact) == 0


@pytest.mark.slow
@pytest.mark.parametrize("mutation", [*QUICK, *OTHERS])
def test_mutation_is_caught(
    mutation: Mutation, onnx_artifact: Path, tmp_path: Path, judge: Callable[[Path], int]
) -> None:
    artifact = copied(onnx_artifact, tmp_path / "copy")
    model = onnx.load(artifact)
    mutation(model)
    onnx.save(model, artifact)
    assert judge(artifact) == 3
