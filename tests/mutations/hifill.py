"""What breaks an ONNX artifact of HiFill."""

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from tests.mutations.deepfill import (
    attribute,
    flatter_elu_in_the_middle,
    fused_by_rows_twice,
    scores_ten_times_as_flat,
)
from tests.mutations.test_onnx import Mutation, bgr, mask_polarity, nodes, redirect


def maker(model: onnx.ModelProto, name: str) -> NodeProto:
    """The node that a tensor comes from."""
    return next(node for node in model.graph.node if name in node.output)


def enlargement(model: onnx.ModelProto, place: int) -> None:
    """Pixels lie in the middle of themselves, as in every newer form of it."""
    mode = attribute(nodes(model, "Resize")[place], "coordinate_transformation_mode")
    assert mode.s == b"align_corners"
    mode.s = b"half_pixel"


def half_pixels_within_the_network(model: onnx.ModelProto) -> None:
    enlargement(model, 0)


def half_pixels_of_the_result(model: onnx.ModelProto) -> None:
    enlargement(model, -1)


def cells_of_the_hole_win(model: onnx.ModelProto) -> None:
    """What they won is not dropped."""
    [softmax] = nodes(model, "Softmax")
    share = next(node for node in model.graph.node if softmax.output[0] in node.input)
    assert share.op_type == "Mul"
    redirect(model, share.output[0], softmax.output[0], share)


def patches_do_not_overlap(model: onnx.ModelProto) -> None:
    """Each pixel of the finer maps' last quarter is covered by one position's patch less."""
    last = nodes(model, "Pad")[-1]
    total = next(node for node in model.graph.node if last.output[0] in node.input)
    assert total.op_type == "Add"
    table = next(name for name in total.input if name != last.output[0])
    redirect(model, total.output[0], table, total)


def residuals_the_other_way(model: onnx.ModelProto) -> None:
    """A cell gets the residuals of those that were painted from it."""
    product = nodes(model, "MatMul")[-1]
    turn = maker(model, product.input[1])
    assert turn.op_type == "Transpose"
    product.input[1] = turn.input[0]


def residuals_left_out(model: onnx.ModelProto) -> None:
    shuffled = nodes(model, "DepthToSpace")[-1].output[0]
    total = next(node for node in model.graph.node if shuffled in node.input)
    assert total.op_type == "Add"
    other = next(name for name in total.input if name != shuffled)
    redirect(model, total.output[0], other, total)


def blocks_picked_not_averaged(model: onnx.ModelProto) -> None:
    """The photo is reduced to each square's first pixel."""
    [mean] = nodes(model, "AveragePool")
    side = attribute(mean, "kernel_shape").ints[0]
    kernel = np.zeros((3, 1, side, side), np.float32)
    kernel[:, :, 0, 0] = 1
    model.graph.initializer.append(numpy_helper.from_array(kernel, "first_pixel"))
    strides = list(attribute(mean, "strides").ints)
    made = helper.make_node("Conv", [mean.input[0], "first_pixel"], list(mean.output), "picked",
                            group=3, strides=strides, kernel_shape=[side, side])  # fmt: skip
    place = list(model.graph.node).index(mean)
    model.graph.node.remove(mean)
    model.graph.node.insert(place, made)


MUTATIONS: list[Mutation] = [
    half_pixels_within_the_network,
    half_pixels_of_the_result,
    scores_ten_times_as_flat,
    fused_by_rows_twice,
    cells_of_the_hole_win,
    patches_do_not_overlap,
    residuals_the_other_way,
    residuals_left_out,
    blocks_picked_not_averaged,
    flatter_elu_in_the_middle,
    mask_polarity,
    bgr,
]
