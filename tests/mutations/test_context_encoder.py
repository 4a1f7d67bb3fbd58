"""Broken artifacts of the context encoder are caught by the numbers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from rethined_export.photo.scenes import free_form_mask, photo_path
from rethined_export.photo.window import Window
from tests.mutations.guests import broken, whole_artifact
from tests.mutations.test_onnx import Mutation, change, named, nodes, store
from tests.narrow_guests import failures, write_artifact

NAME = "context-encoder"


@pytest.fixture(scope="module")
def narrow_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_artifact(NAME, "onnx", tmp_path_factory.mktemp(NAME) / "narrow.onnx")


@pytest.fixture(scope="module")
def whole_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_artifact(NAME, tmp_path_factory.mktemp(NAME))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A photo, and strokes within its middle: others are refused."""
    folder = tmp_path_factory.mktemp("scene")
    with Image.open(photo_path("coffee")) as image:
        image.crop((0, 0, 400, 400)).save(folder / "photo.png")
    hole = np.zeros((400, 400), np.uint8)
    hole[100:300, 100:300] = 255 * free_form_mask(Window.square(200), 0.5, seed=7)
    Image.fromarray(hole).save(folder / "mask.png")
    return folder / "photo.png", folder / "mask.png"


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


every_mutation = pytest.mark.parametrize(
    "mutation",
    [
        centre_shown,
        fill_of_blue_for_red,
        pasted_a_pixel_off,
        pixels_of_the_first_map_in_another_order,
        kernel_turned_round,
        shift_of_batch_norm_left_out,
        steeper_slope,
        leaky_decoder,
    ],
)


@pytest.mark.conversion
@every_mutation
def test_mutation_is_caught(mutation: Mutation, narrow_onnx: Path, tmp_path: Path) -> None:
    assert failures(NAME, broken(narrow_onnx, mutation, tmp_path))


@pytest.mark.slow
@every_mutation
def test_mutation_of_the_whole_network_is_caught(
    mutation: Mutation, whole_onnx: Path, tmp_path: Path, judge: Callable[[Path], int]
) -> None:
    assert judge(broken(whole_onnx, mutation, tmp_path)) == 3


@pytest.mark.slow
def test_the_artifact_itself_passes(whole_onnx: Path, judge: Callable[[Path], int]) -> None:
    assert judge(whole_onnx) == 0
