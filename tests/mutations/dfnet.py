"""What breaks an ONNX artifact of DFNet."""

import onnx

from tests.mutations.test_onnx import bgr, mask_polarity, nodes


def more_zeros_to_the_left_and_above(model: onnx.ModelProto) -> None:
    """As if kernels of even strides were padded the other way round."""
    first = nodes(model, "Conv")[0]
    pads = next(attribute for attribute in first.attribute if attribute.name == "pads")
    assert list(pads.ints) == [2, 2, 3, 3]
    pads.ints[:] = [3, 3, 2, 2]


def enlarged_linearly(model: onnx.ModelProto) -> None:
    last = nodes(model, "Resize")[-1]
    for attribute in last.attribute:
        if attribute.name == "mode":
            attribute.s = b"linear"
        if attribute.name == "coordinate_transformation_mode":
            attribute.s = b"half_pixel"


def skip_before_what_was_enlarged(model: onnx.ModelProto) -> None:
    """Of two maps with equally many channels."""
    join = nodes(model, "Concat")[2]
    join.input[:] = list(reversed(join.input))


def steeper_slope(model: onnx.ModelProto) -> None:
    nodes(model, "LeakyRelu")[-1].attribute[0].f = 0.25


def paint_without_its_share(model: onnx.ModelProto) -> None:
    """The hole is the bare paint, not paint times its share."""
    share, paint = nodes(model, "Sigmoid")[::-1]
    product = next(n for n in nodes(model, "Mul") if share.output[0] in n.input)
    product.input[:] = [paint.output[0], "one"]
    model.graph.initializer.append(onnx.helper.make_tensor("one", 1, [], [1.0]))


def known_pixels_painted(model: onnx.ModelProto) -> None:
    """What is painted is added everywhere."""
    last = nodes(model, "Mul")[-1]
    assert "mask" in last.input
    last.input[list(last.input).index("mask")] = "everywhere"
    model.graph.initializer.append(onnx.helper.make_tensor("everywhere", 1, [], [1.0]))


MUTATIONS = [
    more_zeros_to_the_left_and_above,
    bgr,
    skip_before_what_was_enlarged,
    paint_without_its_share,
    mask_polarity,
    enlarged_linearly,
    steeper_slope,
    known_pixels_painted,
]
