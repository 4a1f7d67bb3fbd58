"""What breaks an ONNX artifact of MI-GAN."""

import numpy as np
import onnx
from onnx import numpy_helper

from tests.mutations.test_onnx import change, nodes, store


def no_noise_at_the_last_level(model: onnx.ModelProto) -> None:
    change(model, "synthesis.b256.conv2.noise", np.zeros_like)


def noise_with_rows_for_columns(model: onnx.ModelProto) -> None:
    change(model, "synthesis.b64.conv1.noise", lambda values: values.swapaxes(2, 3))


def enlargement_off_by_a_pixel(model: onnx.ModelProto) -> None:
    """As if zeros were padded at the other sides."""
    change(model, "synthesis.b256.conv1.upsample.kernel", lambda k: np.roll(k, 1, axis=3))


def image_enlarged_by_nearest_neighbours(model: onnx.ModelProto) -> None:
    def centre(kernel: np.ndarray) -> np.ndarray:
        only = np.zeros_like(kernel)
        only[:, :, 1, 1] = 1
        return only

    change(model, "synthesis.b8.upsample.kernel", centre)


def gain_left_out_of_one_layer(model: onnx.ModelProto) -> None:
    change(model, "encoder.b128.conv1.conv2.weight", lambda w: w / np.float32(np.sqrt(2)))


def mask_behind_the_colours(model: onnx.ModelProto) -> None:
    (join,) = nodes(model, "Concat")
    join.input[:] = list(reversed(join.input))


def limit_of_1_for_256(model: onnx.ModelProto) -> None:
    for stored in model.graph.initializer:
        values = numpy_helper.to_array(stored)
        if values.size == 1 and abs(values.item()) == 256:
            store(stored, values / 256)


def steeper_slope(model: onnx.ModelProto) -> None:
    nodes(model, "LeakyRelu")[-1].attribute[0].f = 0.25


def known_pixels_painted(model: onnx.ModelProto) -> None:
    """The composite mixes in what lies under it."""
    last = nodes(model, "Mul")[-2]
    assert "mask" in last.input
    last.input[list(last.input).index("mask")] = nodes(model, "Concat")[0].input[0]


MUTATIONS = [
    no_noise_at_the_last_level,
    noise_with_rows_for_columns,
    enlargement_off_by_a_pixel,
    image_enlarged_by_nearest_neighbours,
    gain_left_out_of_one_layer,
    mask_behind_the_colours,
    limit_of_1_for_256,
    steeper_slope,
    known_pixels_painted,
]
