"""What breaks an ONNX artifact of the two-stage system."""

import numpy as np
import onnx
from onnx import numpy_helper

from tests.mutations.test_onnx import bgr, mask_polarity, nodes, store


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


MUTATIONS = [
    left_before_right,
    emptied_bands_black,
    emptied_bands_known,
    guess_enlarged_by_nearest_neighbours,
    taps_of_the_last_decoder_reversed,
    masks_behind_all_images,
    moved_the_other_way,
    mask_polarity,
    bgr,
]
