"""What breaks an ONNX artifact of AOT-GAN."""

import numpy as np
import onnx
from onnx import numpy_helper

from tests.mutations.test_onnx import nodes, redirect, store


def change_number(model: onnx.ModelProto, old: float, new: float) -> None:
    """Replace every stored single number of one value."""
    changed = 0
    for stored in model.graph.initializer:
        values = numpy_helper.to_array(stored)
        number = values.dtype == np.float32 and values.size == 1
        if number and np.isclose(values.item(), old, rtol=1e-6, atol=0):
            store(stored, np.full_like(values, new))
            changed += 1
    assert changed


def population_for_sample(model: onnx.ModelProto) -> None:
    """The deviation divides by the number of values, not by one less."""
    height, width = (d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[2:])
    values = height * width // 16
    change_number(model, (values - 1) ** -0.5, values**-0.5)


def gate_without_its_slope(model: onnx.ModelProto) -> None:
    change_number(model, 10, 2)


def gate_the_wrong_way_round(model: onnx.ModelProto) -> None:
    """What is mixed in leads away from what the block found."""
    gate = nodes(model, "Sigmoid")[0]
    product = next(node for node in nodes(model, "Mul") if gate.output[0] in node.input)
    mixed = next(node for node in nodes(model, "Sub") if node.output[0] in product.input)
    mixed.input[:] = list(reversed(mixed.input))


def black_hole(model: onnx.ModelProto) -> None:
    white = next(node for node in nodes(model, "Add") if "mask" in node.input)
    [image] = [name for name in white.input if name != "mask"]
    redirect(model, white.output[0], image, white)


def mask_before_colours(model: onnx.ModelProto) -> None:
    join = next(node for node in nodes(model, "Concat") if "mask" in node.input)
    join.input[:] = list(reversed(join.input))


def corners_not_aligned(model: onnx.ModelProto) -> None:
    for node in nodes(model, "Resize"):
        for attribute in node.attribute:
            if attribute.name == "coordinate_transformation_mode":
                attribute.s = b"half_pixel"


def branches_in_another_order(model: onnx.ModelProto) -> None:
    branches = next(
        node
        for node in nodes(model, "Concat")
        if len(node.input) == 4 and all("relu" in name for name in node.input)
    )
    branches.input[:] = list(reversed(branches.input))


def border_reflected_a_pixel_off(model: onnx.ModelProto) -> None:
    first, second, *_ = nodes(model, "Slice")
    first.input[:] = list(second.input)


MUTATIONS = [
    population_for_sample,
    gate_without_its_slope,
    gate_the_wrong_way_round,
    black_hole,
    mask_before_colours,
    corners_not_aligned,
    branches_in_another_order,
    border_reflected_a_pixel_off,
]
