"""Errors planted in one operator of a saved artifact.

A weight, its kind, the step of what it makes in eight bits, or a factor behind it.
"""

import copy
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import coremltools as ct
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import helper, numpy_helper

from rethined_export.converters.tflite import pack, unpack

#: Breaks one operator; what it adds, or None where it has nothing to break.
Way = Callable[..., frozenset[str] | None]
NOTHING: frozenset[str] = frozenset()
#: How much larger a planted factor makes a tensor.
FACTOR = 1.01
#: How much wider a planted step makes what eight bits stand for.
STEP = 2
#: Of weights, whole or reduced.
STORED = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8)
#: Kinds that take the same inputs; an operator becomes the next one.
ONNX_KINDS = (("Add", "Sub", "Mul"), ("Relu", "Tanh", "Sigmoid", "Abs", "Exp", "Sqrt"))
TFLITE_KINDS = (("ADD", "SUB", "MUL"), ("RELU", "TANH", "LOGISTIC", "ABS", "EXP", "SQRT"))
COREML_KINDS = (("add", "sub", "mul"), ("relu", "tanh", "sigmoid", "abs", "exp"))


@dataclass(frozen=True)
class Plant:
    """A broken copy; ``added``: names of the values that are new in it."""

    artifact: Path
    way: str
    added: frozenset[str]


def plant(artifact: Path, number: int, random: Random, folder: Path) -> Plant:
    """A copy with an error in one operator, counted as lint's readers count them."""
    copied = folder / artifact.name
    if artifact.is_dir():
        shutil.copytree(artifact, copied)
    else:
        shutil.copy(artifact, copied)
    edit, ways = _EDITS[artifact.suffix], list(_WAYS[artifact.suffix])
    random.shuffle(ways)
    for way in [*ways, _LAST[artifact.suffix]]:
        added = edit(copied, number, way)
        if added is not None:
            return Plant(copied, way.__name__, added)
    raise AssertionError(f"nothing to break in operator {number}")


def _next(kind: str, groups: tuple[tuple[str, ...], ...]) -> str | None:
    for group in groups:
        if kind in group:
            return group[(group.index(kind) + 1) % len(group)]
    return None


def _spoil(values: np.ndarray) -> None:
    """Values move on by one place; a single one grows."""
    values.reshape(-1)[:] = np.roll(values.reshape(-1), 1) if values.size > 1 else values + 1


# --- ONNX ----------------------------------------------------------------------------------------


def _edit_onnx(path: Path, number: int, way: Way) -> frozenset[str] | None:
    model = onnx.load(path)
    nodes = [node for node in model.graph.node if node.op_type != "Constant"]
    added = way(model, nodes[number])
    if added is None:
        return None
    onnx.save(model, path)
    return added


def onnx_weight(model: Any, node: Any) -> frozenset[str] | None:
    for stored in model.graph.initializer:
        if stored.name in node.input and stored.data_type in STORED:
            if sum(stored.name in other.input for other in model.graph.node) > 1:
                continue
            values = numpy_helper.to_array(stored).copy()
            _spoil(values)
            stored.CopyFrom(numpy_helper.from_array(values, stored.name))
            return NOTHING
    return None


def onnx_kind(_model: Any, node: Any) -> frozenset[str] | None:
    kind = _next(node.op_type, ONNX_KINDS)
    if kind is None:
        return None
    node.op_type = kind
    return NOTHING


def onnx_step(model: Any, node: Any) -> frozenset[str] | None:
    if node.op_type != "QuantizeLinear":
        return None
    [scale] = [one for one in model.graph.initializer if one.name == node.input[1]]
    wider = np.float32(STEP) * numpy_helper.to_array(scale)
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(wider), "planted"))
    node.input[1] = "planted"
    return NOTHING


def onnx_factor(model: Any, node: Any) -> frozenset[str] | None:
    name = node.output[0]
    known = onnx.shape_inference.infer_shapes(model).graph
    [kind] = [one.type.tensor_type.elem_type for one in (*known.value_info, *known.output)
              if one.name == name]  # fmt: skip
    factor = np.asarray(FACTOR, helper.tensor_dtype_to_np_dtype(kind))
    node.output[0] = f"{name}_before"
    model.graph.initializer.append(numpy_helper.from_array(factor, "planted"))
    made = helper.make_node("Mul", [node.output[0], "planted"], [name], "planted_factor")
    model.graph.node.insert(list(model.graph.node).index(node) + 1, made)
    return frozenset(node.output)


# --- TFLite --------------------------------------------------------------------------------------


def _edit_tflite(path: Path, number: int, way: Way) -> frozenset[str] | None:
    model = unpack(path)
    added = way(model, number)
    if added is None:
        return None
    path.write_bytes(pack(model))
    return added


def tflite_weight(model: Any, number: int) -> frozenset[str] | None:
    graph = model.subgraphs[0]
    kinds = {
        schema.TensorType.FLOAT32: np.float32,
        schema.TensorType.FLOAT16: np.float16,
        schema.TensorType.INT8: np.int8,
    }
    for place in graph.operators[number].inputs:
        tensor = graph.tensors[place]
        stored = model.buffers[tensor.buffer]
        readers = sum(place in other.inputs for other in graph.operators)
        if stored.data is not None and tensor.type in kinds and readers == 1:
            stored.data = np.array(stored.data, np.uint8)
            _spoil(stored.data.view(kinds[tensor.type]))
            return NOTHING
    return None


def tflite_kind(model: Any, number: int) -> frozenset[str] | None:
    operator = model.subgraphs[0].operators[number]
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    kind = _next(names[model.operatorCodes[operator.opcodeIndex].builtinCode], TFLITE_KINDS)
    if kind is None:
        return None
    operator.opcodeIndex = _code(model, kind)
    before, operator.builtinOptions = operator.builtinOptions, None
    operator.builtinOptionsType = schema.BuiltinOptions.NONE
    if kind in TFLITE_KINDS[0]:
        _binary(operator, kind, getattr(before, "fusedActivationFunction", 0))
    return NOTHING


def tflite_step(model: Any, number: int) -> frozenset[str] | None:
    graph = model.subgraphs[0]
    made = graph.tensors[graph.operators[number].outputs[0]]
    if made.type != schema.TensorType.INT8:
        return None
    made.quantization.scale = np.float32(STEP) * made.quantization.scale
    return NOTHING


def tflite_factor(model: Any, number: int) -> frozenset[str] | None:
    graph = model.subgraphs[0]
    operator = graph.operators[number]
    place = operator.outputs[0]
    before = copy.copy(graph.tensors[place])
    before.name = b"before"
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.float32(FACTOR).tobytes(), np.uint8)
    model.buffers.append(buffer)
    factor = schema.TensorT()
    factor.type, factor.shape = schema.TensorType.FLOAT32, np.zeros(0, np.int32)
    factor.buffer, factor.name = len(model.buffers) - 1, b"planted"
    graph.tensors += [before, factor]
    operator.outputs = [len(graph.tensors) - 2, *operator.outputs[1:]]
    made = schema.OperatorT()
    made.opcodeIndex = _code(model, "MUL")
    _binary(made, "MUL", 0)
    made.inputs, made.outputs = [len(graph.tensors) - 2, len(graph.tensors) - 1], [place]
    graph.operators.insert(number + 1, made)
    return frozenset([str(len(graph.tensors) - 2)])


def _code(model: Any, kind: str) -> int:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, kind)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _binary(operator: Any, kind: str, activation: int) -> None:
    name = f"{kind.capitalize()}Options"
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
    operator.builtinOptions = getattr(schema, f"{name}T")()
    operator.builtinOptions.fusedActivationFunction = activation


# --- Core ML -------------------------------------------------------------------------------------


def _edit_coreml(path: Path, number: int, way: Way) -> frozenset[str] | None:
    [file] = path.rglob("*.mlmodel")
    spec = ct.utils.load_spec(str(path))
    [block] = spec.mlProgram.functions["main"].block_specializations.values()
    steps = [one for one in block.operations if one.type != "const"]
    added = way(block, steps[number], path)
    if added is None:
        return None
    file.write_bytes(spec.SerializeToString())
    return added


def coreml_weight(block: Any, operator: Any, path: Path) -> frozenset[str] | None:
    for key in ("weight", "y"):
        for argument in operator.inputs[key].arguments if key in operator.inputs else ():
            source = next((o for o in block.operations if o.outputs[0].name == argument.name), None)
            if source is not None and source.type == "const":
                value = source.attributes["val"]
                if value.WhichOneof("value") == "blobFileValue":
                    _spoil_blob(path, value.blobFileValue.offset)
                    return NOTHING
    return None


def _spoil_blob(path: Path, offset: int) -> None:
    """The file says before each blob how long it is and where its values begin."""
    [file] = path.rglob("weight.bin")
    data = bytearray(file.read_bytes())
    size, start = struct.unpack_from("<QQ", data, offset + 8)
    _spoil(np.frombuffer(data, np.float32, size // 4, start))
    file.write_bytes(bytes(data))


def coreml_kind(_block: Any, operator: Any, _path: Path) -> frozenset[str] | None:
    kind = _next(operator.type, COREML_KINDS)
    if kind is None:
        return None
    operator.type = kind
    return NOTHING


def coreml_factor(block: Any, operator: Any, _path: Path) -> frozenset[str] | None:
    place = list(block.operations).index(operator)
    output = operator.outputs[0]
    if output.type.tensorType.rank == 0:
        return None
    name = output.name
    constant = type(operator)(type="const")
    constant.outputs.add(name="planted").type.tensorType.dataType = output.type.tensorType.dataType
    value = constant.attributes["val"]
    value.type.CopyFrom(constant.outputs[0].type)
    value.immediateValue.tensor.floats.values.append(FACTOR)
    text = constant.attributes["name"]
    text.type.tensorType.dataType = 2  # a string
    text.immediateValue.tensor.strings.values.append("planted")
    made = type(operator)(type="mul")
    made.attributes["name"].CopyFrom(text)
    made.attributes["name"].immediateValue.tensor.strings.values[0] = "planted_factor"
    made.outputs.add().CopyFrom(output)
    made.inputs["x"].arguments.add(name=f"{name}_before")
    made.inputs["y"].arguments.add(name="planted")
    output.name = f"{name}_before"
    rest = [copy.deepcopy(one) for one in block.operations[place + 1 :]]
    del block.operations[place + 1 :]
    block.operations.extend([constant, made, *rest])
    return frozenset([f"{name}_before"])


_EDITS: dict[str, Callable[..., frozenset[str] | None]] = {
    ".onnx": _edit_onnx,
    ".tflite": _edit_tflite,
    ".mlpackage": _edit_coreml,
}
_WAYS: dict[str, tuple[Way, ...]] = {
    ".onnx": (onnx_weight, onnx_kind, onnx_step),
    ".tflite": (tflite_weight, tflite_kind, tflite_step),
    ".mlpackage": (coreml_weight, coreml_kind),
}
_LAST: dict[str, Callable[..., frozenset[str] | None]] = {
    ".onnx": onnx_factor,
    ".tflite": tflite_factor,
    ".mlpackage": coreml_factor,
}
