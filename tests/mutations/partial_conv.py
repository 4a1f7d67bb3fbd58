"""What breaks an ONNX artifact of partial convolution."""

import numpy as np
import onnx

from tests.mutations.test_onnx import change, nodes, redirect


def without_rim(ones: np.ndarray) -> np.ndarray:
    inner = ones.copy()
    inner[:, :, [0, -1]] = inner[:, :, :, [0, -1]] = 0
    return inner


def taps_counted_in_a_smaller_window(model: onnx.ModelProto) -> None:
    change(model, "encoder.0.count.ones", without_rim)


def window_left_out_of_one_layer(model: onnx.ModelProto) -> None:
    change(model, "decoder.1.conv.weight", lambda weight: weight / 9)


def shift_left_out(model: onnx.ModelProto) -> None:
    change(model, "encoder.3.shift", np.zeros_like)


def colours_less_another_mean(model: onnx.ModelProto) -> None:
    """As if the network were given RGB in [-1, 1]."""
    change(model, "mean", lambda mean: np.full_like(mean, 0.5))


def hole_counts_as_known(model: onnx.ModelProto) -> None:
    """The first window counts what is hole."""
    (inverse,) = (node for node in nodes(model, "Sub") if "mask" in node.input)
    count = next(node for node in nodes(model, "Conv") if "encoder.0.count" in node.input[1])
    weighted = next(node for node in nodes(model, "Mul") if count.input[0] in node.output)
    weighted.input[list(weighted.input).index(inverse.output[0])] = "mask"


def unknown_places_pass_their_shift_on(model: onnx.ModelProto) -> None:
    """What batch norm leaves where nothing was known is looked at by the next layer."""
    activated = nodes(model, "Relu")[1]
    kept = next(node for node in nodes(model, "Mul") if activated.output[0] in node.input)
    redirect(model, kept.output[0], activated.output[0], kept)


def skip_before_what_came_up(model: onnx.ModelProto) -> None:
    last = nodes(model, "Concat")[-1]
    last.input[:] = list(reversed(last.input))


def smooth_enlargement(model: onnx.ModelProto) -> None:
    for node in nodes(model, "Resize"):
        for attribute in node.attribute:
            if attribute.name == "mode":
                attribute.s = b"linear"


def steeper_slope(model: onnx.ModelProto) -> None:
    nodes(model, "LeakyRelu")[-1].attribute[0].f = 0.25


MUTATIONS = [
    taps_counted_in_a_smaller_window,
    window_left_out_of_one_layer,
    shift_left_out,
    colours_less_another_mean,
    hole_counts_as_known,
    unknown_places_pass_their_shift_on,
    skip_before_what_came_up,
    smooth_enlargement,
    steeper_slope,
]
