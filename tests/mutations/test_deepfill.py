"""Broken artifacts of DeepFill are caught by the numbers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, numpy_helper

from rethined_export.cli import export as export_cli
from tests.copies import copied
from tests.mutations.test_onnx import Mutation, named, nodes, store


def exported(preset: str, folder: Path) -> Path:
    options = ["--model", "deepfill", "--untrained", "--preset", preset, "--size", "96"]
    options += ["--target", "onnx", "--no-verify", "--output", str(folder)]
    assert export_cli.main(options) == 0
    [made] = folder.glob("*.onnx")
    return made


@pytest.fixture(scope="module")
def fusing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported("v2-nipponjo", tmp_path_factory.mktemp("nipponjo"))


@pytest.fixture(scope="module")
def excluding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the port that leaves patches out, counts the overlap and sees BGR."""
    return exported("v2-mmagic", tmp_path_factory.mktemp("mmagic"))


def attribute(node: NodeProto, name: str) -> onnx.AttributeProto:
    return next(found for found in node.attribute if found.name == name)


def constant(model: onnx.ModelProto, value: float) -> onnx.TensorProto:
    """The one stored number that has a value."""
    [found] = [
        stored
        for stored in model.graph.initializer
        if stored.data_type == onnx.TensorProto.FLOAT
        and numpy_helper.to_array(stored).size == 1
        and np.isclose(numpy_helper.to_array(stored).item(), value, rtol=1e-6)
    ]
    return found


def readers(model: onnx.ModelProto, name: str) -> list[NodeProto]:
    return [node for node in model.graph.node if name in node.input]


def scores_ten_times_as_flat(model: onnx.ModelProto) -> None:
    stored = constant(model, 10)
    [division] = readers(model, stored.name)
    assert division.op_type == "Div"
    store(stored, numpy_helper.to_array(stored) / 10)


def excluded_patches_win(model: onnx.ModelProto) -> None:
    stored = constant(model, -1e4)
    store(stored, -numpy_helper.to_array(stored))


def overlap_taken_for_four_everywhere(model: onnx.ModelProto) -> None:
    stored = named(model, "share")
    store(stored, np.full_like(numpy_helper.to_array(stored), 0.25))


def fused_by_rows_twice(model: onnx.ModelProto) -> None:
    turn = next(
        n for n in nodes(model, "Transpose") if list(attribute(n, "perm").ints) == [1, 0, 3, 2]
    )
    attribute(turn, "perm").ints[:] = [0, 1, 2, 3]


def a_neighbour_from_the_other_side(model: onnx.ModelProto) -> None:
    """The first moved table is padded after, not before, what is left of it."""
    pad = nodes(model, "Pad")[0]
    stored = next(entry for entry in model.graph.initializer if entry.name == pad.input[1])
    values = numpy_helper.to_array(stored)
    store(stored, np.roll(values, len(values) // 2))


def patches_of_the_hole_win_their_share(model: onnx.ModelProto) -> None:
    """What they won is not dropped."""
    [softmax] = nodes(model, "Softmax")
    [less] = readers(model, softmax.output[0])
    [share] = readers(model, less.output[0])
    [product] = readers(model, share.output[0])
    assert (share.op_type, product.op_type) == ("Relu", "Mul")
    for node in readers(model, product.output[0]):
        node.input[list(node.input).index(product.output[0])] = share.output[0]


def gate_for_feature(model: onnx.ModelProto) -> None:
    halves = nodes(model, "Split")[-1]
    halves.output[:] = list(reversed(halves.output))


def mask_before_ones(model: onnx.ModelProto) -> None:
    first = nodes(model, "Concat")[0]
    first.input[1], first.input[2] = first.input[2], first.input[1]


def colours_the_other_way_round(model: onnx.ModelProto) -> None:
    first = nodes(model, "Concat")[0]
    first.input[:] = list(reversed(first.input))


def flatter_elu_in_the_middle(model: onnx.ModelProto) -> None:
    layers = nodes(model, "Elu")
    attribute(layers[len(layers) // 2], "alpha").f = 0.5


def caught(artifact: Path, mutation: Mutation, folder: Path, judge: Callable[[Path], int]) -> bool:
    broken = copied(artifact, folder / "copy")
    model = onnx.load(broken)
    mutation(model)
    onnx.save(model, broken)
    return judge(broken) == 3


@pytest.mark.parametrize(
    "mutation",
    [
        scores_ten_times_as_flat,
        fused_by_rows_twice,
        patches_of_the_hole_win_their_share,
        mask_before_ones,
        pytest.param(a_neighbour_from_the_other_side, marks=pytest.mark.slow),
        pytest.param(gate_for_feature, marks=pytest.mark.slow),
        pytest.param(flatter_elu_in_the_middle, marks=pytest.mark.slow),
    ],
)
def test_mutation_is_caught(
    mutation: Mutation, fusing: Path, tmp_path: Path, judge: Callable[[Path], int]
) -> None:
    assert caught(fusing, mutation, tmp_path, judge)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mutation",
    [
        excluded_patches_win,
        overlap_taken_for_four_everywhere,
        colours_the_other_way_round,
    ],
)
def test_mutation_of_what_mmagic_does_otherwise_is_caught(
    mutation: Mutation, excluding: Path, tmp_path: Path, judge: Callable[[Path], int]
) -> None:
    assert caught(excluding, mutation, tmp_path, judge)


def test_the_artifact_itself_passes(fusing: Path, judge: Callable[[Path], int]) -> None:
    assert judge(fusing) == 0


@pytest.mark.slow
def test_mmagics_artifact_itself_passes(excluding: Path, judge: Callable[[Path], int]) -> None:
    assert judge(excluding) == 0
