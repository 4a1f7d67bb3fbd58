"""ONNX models as graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper

from rethined_export.converters.onnx import read as load
from rethined_export.converters.types import ArtifactError
from rethined_export.lint.graph import Graph, Operator, Shape, Value, product, times

_SMALL = 64
_STANDARD = ("", "ai.onnx")
_SPELT = {"float": "float32", "double": "float64"}


def read(path: Path) -> Graph:
    """The main graph of an ONNX model, its shapes inferred.

    Raises:
        ArtifactError: not an ONNX model, truncated, or its weights are not there.
    """
    model = load(path)
    notes = []
    try:
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # its errors share no base class; 2 GiB models are refused too
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        notes.append(f"shapes could not be inferred: {reason[:200]}")
    if not model.graph.node:
        raise ArtifactError(f"{path} holds no operator")
    try:
        return _graph(model, notes)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ArtifactError(f"{path} is damaged: {error}") from error


def _graph(model: Any, notes: list[str]) -> Graph:
    graph = model.graph
    values: dict[str, Value | None] = {"": None}
    for info in (*graph.value_info, *graph.input, *graph.output):
        values[info.name] = _declared(info)
    for tensor in graph.initializer:
        values[tensor.name] = _constant(tensor.name, tensor)
    operators = []
    for node in graph.node:
        if node.op_type == "Constant" and node.domain in _STANDARD:
            held = {one.name: one for one in node.attribute}
            values[node.output[0]] = (
                _constant(node.output[0], held["value"].t)
                if "value" in held
                else Value(node.output[0], constant=True)
            )
            continue
        operators.append(_operator(node, values))
    if any(value and not value.constant and (value.shape is None or None in value.shape)
           for value in values.values()):  # fmt: skip
        notes.append("some shapes are left open in the file, so rules on shapes cannot be decided")
    return Graph("onnx", tuple(operators), tuple(notes))


def _declared(info: Any) -> Value:
    kind = info.type.tensor_type
    shape: Shape | None = None
    if kind.HasField("shape"):
        shape = tuple(
            size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim
        )
    return Value(info.name, _dtype(kind.elem_type), shape)


def _dtype(number: int) -> str:
    name = TensorProto.DataType.Name(number).lower() if number else ""
    return _SPELT.get(name, name)


def _constant(name: str, tensor: Any) -> Value:
    shape = tuple(tensor.dims)
    data = None
    if not tensor.external_data and (product(shape) or 0) <= _SMALL:
        data = tuple(numpy_helper.to_array(tensor).reshape(-1).tolist())
    return Value(name, _dtype(tensor.data_type), shape, constant=True, data=data)


def _operator(node: Any, values: dict[str, Value | None]) -> Operator:
    read = tuple(values.get(name, Value(name)) for name in node.input)
    written = tuple(values.get(name) or Value(name) for name in node.output if name)
    attributes: dict[str, Any] = {}
    nested = False
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if isinstance(value, onnx.GraphProto):
            nested = True
        elif isinstance(value, bytes):
            attributes[attribute.name] = _text(value)
        elif not isinstance(value, onnx.TensorProto):
            attributes[attribute.name] = tuple(value) if isinstance(value, list) else value
    kind = _text(node.op_type)
    if node.domain not in _STANDARD:
        kind = f"{_text(node.domain)}:{kind}"
    return Operator(
        kind,
        _text(node.name or (written[0].name if written else "")),
        read,
        written,
        attributes,
        _multiply_adds(kind, read, written, attributes),
        nested,
    )


def _text(text: str | bytes) -> str:
    """Protobuf leaves what is not UTF-8 as bytes."""
    return text if isinstance(text, str) else text.decode("utf-8", "replace")


def _multiply_adds(
    kind: str,
    read: tuple[Value | None, ...],
    written: tuple[Value, ...],
    attributes: dict[str, Any],
) -> int | None:
    """Each output element costs one for each weight, or element of a row, that it sees."""
    if kind not in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
        return 0
    first, second = read[0], read[1]
    if first is None or second is None or not first.shape or not second.shape:
        return None
    made = product(written[0].shape)
    if kind == "Conv":  # weights [out, in / groups, ...]
        return times(made, *second.shape[1:])
    if kind == "ConvTranspose":  # weights [in, out / groups, ...]
        return times(product(first.shape), *second.shape[1:])
    return times(made, first.shape[-2 if attributes.get("transA") else -1])
