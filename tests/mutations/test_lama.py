"""Broken artifacts of LaMa are caught by the numbers: a narrow network in all three targets."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper

from rethined_export.converters import TARGETS
from rethined_export.converters.tflite import pack, unpack
from rethined_export.rewrite.fourier import FourierMatrices
from tests.guests import narrow_lama
from tests.mutations.test_coreml import mask_polarity, sigmoid_to_tanh
from tests.mutations.test_onnx import initializer, store
from tests.mutations.test_tflite import floats, operators
from tests.wanted import assert_wanted

GUEST = narrow_lama()
MATRICES = FourierMatrices(64 // 8, 96 // 8)


class Made(dict[str, Path]):
    """The artifact of each target, made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, target: str) -> Path:
        self[target] = GUEST.write(target, self._folder)["whole"]
        return self[target]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("lama"))


def failures(path: Path) -> list[str]:
    return GUEST.failures({"whole": path})


@pytest.mark.parametrize("target", TARGETS)
def test_untouched_artifact_passes(target: str, artifact: Made):
    assert not GUEST.failures({"whole": artifact[target]}, scenes=2)
    assert_wanted(target, artifact[target])


def inverse_for_forward(model: onnx.ModelProto) -> None:
    stored = initializer(model, MATRICES.columns)
    store(stored, MATRICES.columns_back.numpy())


def middle_bin_counted_twice(model: onnx.ModelProto) -> None:
    stored = initializer(model, MATRICES.rows_back)
    values = numpy_helper.to_array(stored).copy()
    values[MATRICES.bins - 1] *= 2
    store(stored, values)


def imaginary_before_real(model: onnx.ModelProto) -> None:
    stored = next(s for s in model.graph.initializer if "fu.conv_layer.weight" in s.name)
    values = numpy_helper.to_array(stored)
    store(stored, values.reshape(len(values), -1, 2)[:, :, ::-1].reshape(values.shape))


def unnormalised(model: onnx.ModelProto) -> None:
    stored = initializer(model, MATRICES.rows)
    store(stored, numpy_helper.to_array(stored) * np.float32(12**0.5))


@pytest.mark.parametrize(
    "mutate", [inverse_for_forward, middle_bin_counted_twice, imaginary_before_real, unnormalised]
)
def test_onnx_mutation_is_caught(
    mutate: Callable[[onnx.ModelProto], None], artifact: Made, tmp_path: Path
):
    model = onnx.load(artifact["onnx"])
    mutate(model)
    onnx.save(model, tmp_path / "lama.onnx")
    assert failures(tmp_path / "lama.onnx")


def cropped_at_the_end(model: Any) -> None:
    """The transposed convolution's first row is kept, its last one is not."""
    transposed = operators(model, schema.BuiltinOperator.TRANSPOSE_CONV)[-1]
    crop = next(
        operator
        for operator in operators(model, schema.BuiltinOperator.SLICE)
        if operator.inputs[0] == transposed.outputs[0]
    )
    begin = model.buffers[model.subgraphs[0].tensors[crop.inputs[1]].buffer]
    begin.data = np.zeros_like(begin.data)


def dropped_relu(model: Any) -> None:
    """The spectrum keeps what is negative."""
    wide = 2 * (GUEST.options.window.width // 8 // 2 + 1)
    for convolution in operators(model, schema.BuiltinOperator.CONV_2D):
        shape = model.subgraphs[0].tensors[convolution.outputs[0]].shape
        if shape[2] == wide // 2:
            convolution.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
            return
    raise AssertionError("no convolution of a spectrum")


def dropped_bias(model: Any) -> None:
    last = operators(model, schema.BuiltinOperator.CONV_2D)[-1]
    values = floats(model, model.subgraphs[0].tensors[last.inputs[2]])
    assert values.any()
    values[:] = 0


@pytest.mark.parametrize("mutate", [cropped_at_the_end, dropped_relu, dropped_bias])
def test_tflite_mutation_is_caught(mutate: Callable[[Any], None], artifact: Made, tmp_path: Path):
    model = unpack(artifact["tflite"])
    mutate(model)
    (tmp_path / "lama.tflite").write_bytes(pack(model))
    assert failures(tmp_path / "lama.tflite")


@pytest.mark.parametrize("mutate", [mask_polarity, sigmoid_to_tanh])
def test_coreml_mutation_is_caught(mutate: Callable[[Path], None], artifact: Made, tmp_path: Path):
    copy = shutil.copytree(artifact["coreml"], tmp_path / "lama.mlpackage")
    mutate(copy)
    assert failures(copy)
