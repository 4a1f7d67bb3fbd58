"""Artifacts of each format become the same kind of graph."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tiny_tflite import INT, Step, Tensor, constant, tflite_model, weights

from rethined_export.converters.tflite import pack, unpack
from rethined_export.converters.types import ArtifactError
from rethined_export.lint import onnx as onnx_reader
from rethined_export.lint import tflite as tflite_reader
from rethined_export.lint.graph import Graph
from rethined_export.lint.report import read_graph, report, rule_books


def costs(graph: Graph) -> dict[str, int | None]:
    return {operator.kind: operator.multiply_adds for operator in graph.operators}


# --- TFLite --------------------------------------------------------------------------------------


def test_tflite_multiply_adds(tmp_path: Path) -> None:
    """Each output element times what it sees; a transposed convolution counts its input's."""
    start, wide, grouped = Tensor((1, 8, 8, 2)), Tensor((1, 8, 8, 3)), Tensor((1, 8, 8, 3))
    rows, flat, product = Tensor((1, 64, 3)), Tensor((1, 64, 5)), Tensor((1, 5, 5))
    path = tmp_path / "a.tflite"
    path.write_bytes(
        tflite_model(
            Step("CONV_2D", [start, weights(3, 5, 5, 2), weights(3)], [wide], "Conv2DOptions"),
            Step("DEPTHWISE_CONV_2D", [wide, weights(1, 3, 3, 3), weights(3)], [grouped],
                 "DepthwiseConv2DOptions"),
            Step("RESHAPE", [grouped, constant([1, 64, 3])], [rows]),
            Step("FULLY_CONNECTED", [rows, weights(5, 3)], [flat], "FullyConnectedOptions"),
            Step("BATCH_MATMUL", [flat, flat], [product], "BatchMatMulOptions", {"adjX": True}),
            Step("TRANSPOSE_CONV", [constant([1, 16, 16, 7]), weights(7, 2, 2, 3), grouped],
                 [Tensor((1, 16, 16, 7))], "TransposeConvOptions"),
        )
    )  # fmt: skip
    assert costs(tflite_reader.read(path)) == {
        "CONV_2D": 8 * 8 * 3 * 5 * 5 * 2,
        "DEPTHWISE_CONV_2D": 8 * 8 * 3 * 3 * 3,
        "RESHAPE": 0,
        "FULLY_CONNECTED": 64 * 5 * 3,
        "BATCH_MATMUL": 5 * 5 * 64,
        "TRANSPOSE_CONV": 8 * 8 * 3 * 2 * 2 * 7,
    }


def test_tflite_constants_types_and_attributes(tmp_path: Path) -> None:
    start = Tensor((1, 4, 4, 2), INT)
    steps = constant([1, 2, 2, 1])
    path = tmp_path / "a.tflite"
    path.write_bytes(
        tflite_model(
            Step("STRIDED_SLICE", [start, constant([0] * 4), constant([1, 4, 4, 2]), steps],
                 [Tensor((1, 2, 2, 2), INT)], "StridedSliceOptions", {"beginMask": 3})
        )
    )  # fmt: skip
    (operator,) = tflite_reader.read(path).operators
    assert operator.attributes["beginMask"] == 3
    assert [value.constant for value in operator.given] == [False, True, True, True]
    assert operator.given[3].data == (1, 2, 2, 1)
    assert {(value.dtype, value.shape) for value in operator.flowing} == {
        ("int32", (1, 4, 4, 2)),
        ("int32", (1, 2, 2, 2)),
    }


@pytest.mark.parametrize("keep", [0, 4, 40, 150])
def test_truncated_tflite(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(tflite_model(Step("ABS", [Tensor((1, 4))], [Tensor((1, 4))]))[:keep])
    with pytest.raises(ArtifactError):
        tflite_reader.read(path)


def test_tflite_whose_operator_names_no_tensor(tmp_path: Path) -> None:
    step = Step("ABS", [Tensor((1, 4))], [Tensor((1, 4))])
    path = tmp_path / "a.tflite"
    path.write_bytes(tflite_model(step))
    model = unpack(path)
    model.subgraphs[0].operators[0].outputs = [99]
    path.write_bytes(pack(model))
    with pytest.raises(ArtifactError, match="do not match"):
        tflite_reader.read(path)


# --- ONNX ----------------------------------------------------------------------------------------


def save_onnx(path: Path, nodes: list[Any], shape: list[Any], *tensors: np.ndarray) -> Path:
    """A model from ``x`` to ``y``; tensors are its weights ``w0``, ``w1``…"""
    held = [numpy_helper.from_array(tensor, f"w{n}") for n, tensor in enumerate(tensors)]
    takes = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    gives = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [takes], [gives], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def test_onnx_multiply_adds(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], group=2),
        helper.make_node("ConvTranspose", ["a", "w1"], ["b"], strides=[2, 2]),
        helper.make_node("Flatten", ["b"], ["c"]),
        helper.make_node("Gemm", ["c", "w2"], ["d"]),
        helper.make_node("MatMul", ["d", "w3"], ["y"]),
    ]
    path = save_onnx(tmp_path / "a.onnx", nodes, [1, 4, 8, 8],
                     ones(6, 2, 3, 3), ones(6, 2, 2, 2), ones(288, 5), ones(5, 7))  # fmt: skip
    assert costs(onnx_reader.read(path)) == {
        "Conv": 6 * 6 * 6 * 2 * 3 * 3,
        "ConvTranspose": 6 * 6 * 6 * 2 * 2 * 2,
        "Flatten": 0,
        "Gemm": 288 * 5,
        "MatMul": 5 * 7,
    }


def test_onnx_with_open_sizes_says_so(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w0"], ["y"])]
    path = save_onnx(tmp_path / "a.onnx", nodes, ["batch", 2, 8, 8], ones(3, 2, 1, 1))
    graph = onnx_reader.read(path)
    assert costs(graph) == {"Conv": None}
    assert any("left open" in note for note in graph.notes)


def test_onnx_of_another_domain(tmp_path: Path) -> None:
    """An operator that nothing is known of: its result has neither type nor shape."""
    nodes = [
        helper.make_node("Magic", ["x"], ["a"], domain="com.example"),
        helper.make_node("Abs", ["a"], ["y"]),
    ]
    path = save_onnx(tmp_path / "a.onnx", nodes, [1, 2])
    graph = onnx_reader.read(path)
    assert [operator.kind for operator in graph.operators] == ["com.example:Magic", "Abs"]
    assert graph.operators[0].outputs[0].shape is None


def test_onnx_with_weights_in_another_file(tmp_path: Path) -> None:
    """Shapes are enough: the weights are not read."""
    nodes = [helper.make_node("Conv", ["x", "w0"], ["y"])]
    path = save_onnx(tmp_path / "a.onnx", nodes, [1, 2, 8, 8], ones(3, 2, 1, 1))
    onnx.save(
        onnx.load(path), path, save_as_external_data=True, location="a.data", size_threshold=0
    )
    graph = onnx_reader.read(path)
    assert costs(graph) == {"Conv": 8 * 8 * 3 * 2}
    assert graph.operators[0].given[1].constant


def test_damaged_onnx(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"\x08\x07\x12\xff\xff")
    with pytest.raises(ArtifactError, match="not an ONNX file, or is truncated"):
        onnx_reader.read(path)


# --- Damage --------------------------------------------------------------------------------------


def whole_files(folder: Path) -> dict[str, bytes]:
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"]),
        helper.make_node("Mish", ["a"], ["b"]),
        helper.make_node("Softmax", ["b"], ["y"], axis=1),
    ]
    start, middle = Tensor((1, 8, 8, 2)), Tensor((1, 8, 8, 3))
    steps = (
        Step("CONV_2D", [start, weights(3, 1, 1, 2), weights(3)], [middle], "Conv2DOptions"),
        Step("SQUEEZE", [middle], [Tensor((8, 8, 3))], "SqueezeOptions", {"squeezeDims": [0]}),
    )
    path = save_onnx(folder / "whole.onnx", nodes, [1, 2, 8, 8], ones(3, 2, 1, 1))
    return {"a.onnx": path.read_bytes(), "a.tflite": tflite_model(*steps)}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_bytes(data: st.DataObject) -> None:
    """A file with wrong bytes is refused, or judged for what it says; nothing else happens."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, content = data.draw(st.sampled_from(sorted(whole_files(folder).items())))
        changed = bytearray(content)
        for place in data.draw(st.lists(st.integers(0, len(changed) - 1), min_size=1, max_size=6)):
            changed[place] = data.draw(st.integers(0, 255))
        path = folder / file
        path.write_bytes(changed)
        try:
            graph = read_graph(path)
        except ArtifactError as error:
            assert str(path) in str(error)
            return
        for book in rule_books("all", path):
            json.dumps(report(book, graph))


# --- Core ML -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ML Program in float16, with an operator that the interpreter here does not know."""
    ct = pytest.importorskip("coremltools")
    from coremltools.converters.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil import mil

    half = mil.types.fp16

    @mb.program(
        input_specs=[mb.TensorSpec((1, 4, 8, 8), dtype=half)], opset_version=ct.target.iOS16
    )
    def program(x: Any) -> Any:
        made = mb.conv(x=x, weight=np.ones((6, 2, 3, 3), np.float16), groups=2, dilations=[2, 2])
        made = mb.conv_transpose(x=made, weight=np.ones((6, 3, 2, 2), np.float16), strides=[2, 2])
        made = mb.reshape(x=made, shape=[1, 3, 64])
        made = mb.matmul(x=made, y=np.ones((64, 5), np.float16))
        return mb.atan(x=made)

    model = ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    path = tmp_path_factory.mktemp("coreml") / "a.mlpackage"
    model.save(str(path))
    return path


def test_coreml(package: Path) -> None:
    from rethined_export.lint.coreml import read

    graph = read(package)
    found = costs(graph)
    assert found["conv"] == 4 * 4 * 6 * 2 * 3 * 3
    assert found["conv_transpose"] == 4 * 4 * 6 * 3 * 2 * 2
    product = found.get("matmul") or found.get("linear")
    assert product == 3 * 5 * 64
    convolution = next(operator for operator in graph.operators if operator.kind == "conv")
    assert convolution.attributes["dilations"] == (2, 2)
    assert convolution.outputs[0].dtype == "float16"
    assert "atan" in found
    assert "const" not in found


def test_damaged_package(package: Path, tmp_path: Path) -> None:
    from rethined_export.lint.coreml import read

    copy = tmp_path / "b.mlpackage"
    shutil.copytree(package, copy)
    (spec,) = copy.rglob("*.mlmodel")
    spec.write_bytes(spec.read_bytes()[:100])
    with pytest.raises(ArtifactError):
        read(copy)
