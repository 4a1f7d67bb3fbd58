"""What breaks an ONNX artifact of the context encoder."""

import numpy as np
import onnx
from onnx import numpy_helper

from tests.mutations.test_onnx import change, named, nodes, store


def centre_shown(model: onnx.ModelProto) -> None:
    """Known pixels of the centre are not blanked."""
    change(model, "blank", np.zeros_like)


def fill_of_blue_for_red(model: onnx.ModelProto) -> None:
    fill = next(s for s in model.graph.initializer if list(s.dims) == [1, 3, 1, 1])
    store(fill, numpy_helper.to_array(fill)[:, ::-1])


def pasted_a_pixel_off(model: onnx.ModelProto) -> None:
    (pad,) = nodes(model, "Pad")
    margins = named(model, pad.input[1])
    assert numpy_helper.to_array(margins).tolist() == [0, 0, 32, 32, 0, 0, 32, 32]
    store(margins, np.array([0, 0, 31, 32, 0, 0, 33, 32]))


def pixels_of_the_first_map_in_another_order(model: onnx.ModelProto) -> None:
    """Channels run slower than pixels."""

    def reordered(weight: np.ndarray) -> np.ndarray:
        return weight.reshape(-1, 16, *weight.shape[1:]).swapaxes(0, 1).reshape(weight.shape)

    change(model, "network.12.product.weight", reordered)


def kernel_turned_round(model: onnx.ModelProto) -> None:
    """As of a convolution, not a transposed one."""
    change(model, "network.16.weight", lambda weight: weight[:, :, ::-1, ::-1])


def shift_of_batch_norm_left_out(model: onnx.ModelProto) -> None:
    change(model, "network.10.bias", np.zeros_like)


def steeper_slope(model: onnx.ModelProto) -> None:
    nodes(model, "LeakyRelu")[-1].attribute[0].f = 0.25


def leaky_decoder(model: onnx.ModelProto) -> None:
    last = nodes(model, "Relu")[-1]
    last.op_type = "LeakyRelu"


MUTATIONS = [
    centre_shown,
    fill_of_blue_for_red,
    pasted_a_pixel_off,
    pixels_of_the_first_map_in_another_order,
    kernel_turned_round,
    shift_of_batch_norm_left_out,
    steeper_slope,
    leaky_decoder,
]
