"""What breaks an ONNX artifact of DeepFill."""

import numpy as np
import onnx
from onnx import NodeProto, numpy_helper

from tests.mutations.test_onnx import named, nodes, store


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


MUTATIONS = [
    scores_ten_times_as_flat,
    fused_by_rows_twice,
    mask_before_ones,
    a_neighbour_from_the_other_side,
    gate_for_feature,
    flatter_elu_in_the_middle,
]
#: Of the port that leaves patches out, counts the overlap and sees BGR.
MUTATIONS_OF_MMAGICS = [
    excluded_patches_win,
    overlap_taken_for_four_everywhere,
    colours_the_other_way_round,
]
