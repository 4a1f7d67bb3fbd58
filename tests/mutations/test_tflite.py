"""Broken TFLite artifacts are caught by the numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from rethined_export.converters.tflite import pack, unpack
from rethined_export.models.rethined.filters import gaussian_taps
from rethined_export.rewrite.bicubic import BicubicUpsample
from tests.copies import copied

Mutation = Callable[[Any], None]


def floats(model: Any, tensor: Any) -> np.ndarray:
    """A constant tensor's values, writable in place."""
    buffer = model.buffers[tensor.buffer]
    buffer.data = np.array(buffer.data, dtype=np.uint8)
    return buffer.data.view(np.float32)


def constants(model: Any) -> list[Any]:
    """Float tensors that hold values."""
    return [
        tensor
        for tensor in model.subgraphs[0].tensors
        if model.buffers[tensor.buffer].data is not None
        and tensor.type == schema.TensorType.FLOAT32
    ]


def operators(model: Any, kind: int) -> list[Any]:
    """Operators of one built-in kind, in order."""
    codes = [i for i, code in enumerate(model.operatorCodes) if code.builtinCode == kind]
    return [op for op in model.subgraphs[0].operators if op.opcodeIndex in codes]


def swap_constant(model: Any, old: np.ndarray, new: np.ndarray) -> None:
    """Replace the constants that hold exactly these numbers, whatever their layout."""
    found = 0
    for tensor in constants(model):
        values = floats(model, tensor)
        if values.size == old.size and np.allclose(values, old, atol=1e-7):
            values[:] = new
            found += 1
    assert found, "no such constant"


def zero_weight_block(model: Any) -> None:
    largest = max(constants(model), key=lambda tensor: np.prod(tensor.shape))
    values = floats(model, largest)
    values[: values.size // 8] = 0


def symmetric_for_reflect(model: Any) -> None:
    last = operators(model, schema.BuiltinOperator.MIRROR_PAD)[-1]
    last.builtinOptions.mode = schema.MirrorPadMode.SYMMETRIC


def sigmoid_to_relu(model: Any) -> None:
    last = operators(model, schema.BuiltinOperator.LOGISTIC)[-1]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RELU
    code.version = 1
    model.operatorCodes.append(code)
    last.opcodeIndex = len(model.operatorCodes) - 1
    last.builtinOptions, last.builtinOptionsType = None, schema.BuiltinOptions.NONE


def blur_sigma(model: Any) -> None:
    old = np.repeat(gaussian_taps().float().numpy(), 3)
    swap_constant(model, old, np.repeat(gaussian_taps(sigma=2.2).float().numpy(), 3))


def bicubic_coefficient(model: Any) -> None:
    old = BicubicUpsample(2).kernel.numpy().reshape(4, 25).T.reshape(-1)
    swap_constant(model, old, old * np.linspace(0.99, 1.01, old.size, dtype=np.float32))


def swapped_colours(model: Any) -> None:
    # The first convolution reads B, G, R: its kernel's input channels in reverse.
    first = operators(model, schema.BuiltinOperator.CONV_2D)[0]
    tensor = model.subgraphs[0].tensors[first.inputs[1]]
    values = floats(model, tensor).reshape(tensor.shape)
    values[:] = values[..., ::-1].copy()


def gather_off_by_one(model: Any) -> None:
    # The last look-up fetches full-resolution patch rows; shift its table offsets by one.
    graph = model.subgraphs[0]
    for tensor in graph.tensors:
        buffer = model.buffers[tensor.buffer]
        if tensor.type == schema.TensorType.INT32 and buffer.data is not None:
            values = np.array(buffer.data, dtype=np.uint8).view(np.int32)
            if values.size == 3 and values[1] == 1024 * 64:
                values[2] -= 1
                buffer.data = values.view(np.uint8)
                return
    raise AssertionError("no plane offsets")


def dropped_bias(model: Any) -> None:
    convolution = operators(model, schema.BuiltinOperator.CONV_2D)[-2]
    for candidate in operators(model, schema.BuiltinOperator.CONV_2D)[::-1]:
        tensor = model.subgraphs[0].tensors[candidate.inputs[2]]
        if list(tensor.shape) == [192] and model.buffers[tensor.buffer].data is not None:
            floats(model, tensor)[:] = 0
            return
    raise AssertionError(f"no bias of 192 numbers ({convolution})")


def channels_first(model: Any) -> None:
    graph = model.subgraphs[0]
    image = graph.tensors[graph.inputs[0]]
    image.shape = np.array([1, 3, 1024, 1024], dtype=np.int32)


@pytest.mark.parametrize(
    "mutate",
    [
        zero_weight_block,
        symmetric_for_reflect,
        sigmoid_to_relu,
        blur_sigma,
        bicubic_coefficient,
        swapped_colours,
        gather_off_by_one,
        dropped_bias,
    ],
)
def test_mutation_is_caught(
    mutate: Mutation, exported: Path, tmp_path: Path, judge: Callable[[Path], int]
):
    assert judge(broken(exported, tmp_path, mutate)) == 3


def test_wrong_layout_is_refused(exported: Path, tmp_path: Path, judge: Callable[[Path], int]):
    assert judge(broken(exported, tmp_path, channels_first)) == 2


def test_untouched_copy_passes(exported: Path, tmp_path: Path, judge: Callable[[Path], int]):
    assert judge(broken(exported, tmp_path, lambda _model: None)) == 0


@pytest.mark.parametrize("kept", [0.3, 0.999])
def test_truncated_file_is_refused(
    kept: float, exported: Path, tmp_path: Path, judge: Callable[[Path], int]
):
    [artifact] = exported.glob("*.tflite")
    copy = copied(artifact, tmp_path)
    data = copy.read_bytes()
    copy.write_bytes(data[: int(len(data) * kept)])
    assert judge(copy) == 2


def broken(exported: Path, folder: Path, mutate: Mutation) -> Path:
    """A copy with one thing changed, repacked."""
    [artifact] = exported.glob("*.tflite")
    copy = copied(artifact, folder)
    model = unpack(copy)
    mutate(model)
    copy.write_bytes(pack(model))
    return copy
