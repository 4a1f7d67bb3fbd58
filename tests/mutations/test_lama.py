"""Broken artifacts of LaMa are caught by the numbers: a narrow network in all three targets."""

import multiprocessing
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper

from rethined_export.converters import TARGETS, converter, target_of
from rethined_export.converters.tflite import pack, unpack
from rethined_export.parity.report import check_parity
from rethined_export.recipes.lama import RECIPE
from rethined_export.recipes.types import Reference
from rethined_export.rewrite.fourier import FourierMatrices
from tests.mutations.narrow_lama import OPTIONS, narrow, write_artifact
from tests.mutations.test_coreml import mask_polarity, sigmoid_to_tanh
from tests.mutations.test_onnx import initializer, store
from tests.mutations.test_tflite import floats, operators

MATRICES = FourierMatrices(64 // 8, 96 // 8)


@pytest.fixture(scope="module")
def onnx_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Converted in a process of its own: this one may have loaded a session before."""
    path = tmp_path_factory.mktemp("lama") / "lama.onnx"
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(write_artifact, "onnx", path).result()
    return path


@pytest.fixture(scope="module")
def tflite_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lama") / "lama.tflite"
    write_artifact("tflite", path)
    return path


@pytest.fixture(scope="module")
def coreml_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lama") / "lama.mlpackage"
    write_artifact("coreml", path)
    return path


def failures(artifact: Path) -> list[str]:
    """Gates that an artifact misses on one photo."""
    judge = RECIPE.judge(OPTIONS, Reference(narrow(), "untrained", ""))
    scene = next(iter(RECIPE.scenes(OPTIONS, None, None)))
    with converter(target_of(artifact)).load(artifact, 1) as runtime:
        return check_parity(judge, RECIPE.caller(OPTIONS, {"whole": runtime}), "", [scene]).failures


@pytest.mark.parametrize("target", TARGETS)
def test_untouched_artifact_passes(target, request):
    assert not failures(request.getfixturevalue(f"{target}_artifact"))


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
    mutate: Callable[[onnx.ModelProto], None], onnx_artifact: Path, tmp_path: Path
):
    model = onnx.load(onnx_artifact)
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
    wide = 2 * (OPTIONS.window.width // 8 // 2 + 1)
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
def test_tflite_mutation_is_caught(
    mutate: Callable[[Any], None], tflite_artifact: Path, tmp_path: Path
):
    model = unpack(tflite_artifact)
    mutate(model)
    (tmp_path / "lama.tflite").write_bytes(pack(model))
    assert failures(tmp_path / "lama.tflite")


@pytest.mark.parametrize("mutate", [mask_polarity, sigmoid_to_tanh])
def test_coreml_mutation_is_caught(
    mutate: Callable[[Path], None], coreml_artifact: Path, tmp_path: Path
):
    copy = shutil.copytree(coreml_artifact, tmp_path / "lama.mlpackage")
    mutate(copy)
    assert failures(copy)
