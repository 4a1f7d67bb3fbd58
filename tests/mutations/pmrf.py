"""What breaks an ONNX artifact of parallel multi-resolution fusion."""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import NodeProto, helper

from tests.mutations.aot_gan import change_number
from tests.mutations.test_onnx import change, mask_polarity, nodes


def number(model: onnx.ModelProto, value: float) -> str:
    """The name of a new stored number."""
    name = f"number_{len(model.graph.initializer)}"
    model.graph.initializer.append(helper.make_tensor(name, onnx.TensorProto.FLOAT, [], [value]))
    return name


def producer(model: onnx.ModelProto, name: str) -> NodeProto | None:
    return next((node for node in model.graph.node if name in node.output), None)


def quotients(model: onnx.ModelProto, kind: str) -> Iterator[NodeProto]:
    """Divisions by what a node of one type gives, where that is at least some number."""
    for node in nodes(model, "Div"):
        least = producer(model, node.input[1])
        if least is not None and least.op_type == "Clip":
            counted = producer(model, least.input[0])
            if counted is not None and counted.op_type == kind:
                yield node


def a_larger_share_asked_for(model: onnx.ModelProto) -> None:
    share = number(model, 0.6)
    for largest in nodes(model, "ReduceMax"):
        asked = next(n for n in nodes(model, "Mul") if largest.output[0] in n.input)
        asked.input[:] = [largest.output[0], share]


def known_places_compete(model: onnx.ModelProto) -> None:
    """The largest priority is one over all places."""
    for largest in nodes(model, "ReduceMax"):
        unknown = producer(model, largest.input[0])
        assert unknown is not None
        assert unknown.op_type == "Mul"
        largest.input[0] = unknown.input[0]


def one_side_of_a_contour_the_other_way_round(model: onnx.ModelProto) -> None:
    """On the highest level."""
    sides = producer(model, nodes(model, "Abs")[-1].input[0])
    assert sides is not None
    assert sides.op_type == "Add"
    sides.op_type = "Sub"


def contours_of_maps_themselves(model: onnx.ModelProto) -> None:
    """Not of what they lose when they are halved."""
    stored = [stored for stored in model.graph.initializer if "detail.down" in stored.name]
    assert len(stored) == 3
    for matrix in stored:
        change(model, matrix.name, np.zeros_like)


def windows_not_weighed_by_what_is_known(model: onnx.ModelProto) -> None:
    nine, found = number(model, 9), list(quotients(model, "Conv"))
    assert len(found) > 10
    for node in found:
        node.input[1] = nine


def levels_that_know_nothing_count(model: onnx.ModelProto) -> None:
    """A fusion divides by four wherever it is."""
    four, found = number(model, 4), list(quotients(model, "Add"))
    assert found
    for node in found:
        node.input[1] = four


def attention_ten_times_as_flat(model: onnx.ModelProto) -> None:
    change_number(model, 10, 1)


def attention_to_the_hole(model: onnx.ModelProto) -> None:
    change_number(model, -1e4, 1e4)


def enlarged_by_nearest_neighbours(model: onnx.ModelProto) -> None:
    for node in nodes(model, "Resize"):
        for attribute in node.attribute:
            if attribute.name == "mode":
                attribute.s = b"nearest"


def steeper_slope(model: onnx.ModelProto) -> None:
    nodes(model, "LeakyRelu")[-1].attribute[0].f = 0.25


def levels_told_the_other_way_round(model: onnx.ModelProto) -> None:
    """The image is right; when which place was painted is not."""
    told = next(node for node in nodes(model, "Concat") if "updates" in node.output)
    told.input[:] = list(reversed(told.input))


MUTATIONS = [
    a_larger_share_asked_for,
    known_places_compete,
    one_side_of_a_contour_the_other_way_round,
    contours_of_maps_themselves,
    windows_not_weighed_by_what_is_known,
    levels_that_know_nothing_count,
    attention_ten_times_as_flat,
    attention_to_the_hole,
    enlarged_by_nearest_neighbours,
    steeper_slope,
    levels_told_the_other_way_round,
    mask_polarity,
]
