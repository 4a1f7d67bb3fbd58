"""TFLite flatbuffers as graphs."""

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from rethined_export.converters.tflite import unpack
from rethined_export.converters.types import ArtifactError
from rethined_export.lint.graph import Graph, Operator, Value, product, times

#: Constants up to this many bytes are kept, since rules ask for strides, paddings and axes.
_SMALL = 256
_NUMPY = {"int32": np.int32, "int64": np.int64, "float32": np.float32}


def _names(enumeration: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


_KINDS, _TYPES = _names(schema.BuiltinOperator), _names(schema.TensorType)
_ACTIVATIONS = _names(schema.ActivationFunctionType)
_COUNTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL")


def read(path: Path) -> Graph:
    """The main graph of a TFLite file.

    Raises:
        ArtifactError: not a TFLite file, or a damaged one.
    """
    model = unpack(path)
    try:
        return _graph(model)
    except (IndexError, TypeError, AttributeError, KeyError, ValueError) as error:
        raise ArtifactError(f"{path} is damaged: its tensors or operators do not match") from error


def _graph(model: Any) -> Graph:
    main = model.subgraphs[0]
    made = {int(place) for operator in main.operators for place in operator.outputs}
    given = {int(place) for place in main.inputs}
    values = [
        _value(model, tensor, place, constant=place not in made | given)
        for place, tensor in enumerate(main.tensors)
    ]
    operators = tuple(_operator(model, operator, values) for operator in main.operators)
    notes = []
    if len(model.subgraphs) > 1:
        notes.append(f"only the first of {len(model.subgraphs)} subgraphs was looked at")
    return Graph("tflite", operators, tuple(notes))


def _value(model: Any, tensor: Any, place: int, *, constant: bool) -> Value:
    dtype = _TYPES[tensor.type].lower()
    sizes = [] if tensor.shape is None else tensor.shape
    signature = tensor.shapeSignature
    if signature is not None and len(signature) == len(sizes):
        sizes = signature  # -1 where a size is free
    shape = tuple(int(size) if size >= 0 else None for size in sizes)
    data = model.buffers[tensor.buffer].data if constant else None
    small = None
    if data is not None and len(data) <= _SMALL and dtype in _NUMPY:
        small = tuple(np.frombuffer(bytes(data), _NUMPY[dtype]).tolist())
    return Value(f"{place}", dtype, shape, constant, small)


def _operator(model: Any, operator: Any, values: list[Value]) -> Operator:
    code = model.operatorCodes[operator.opcodeIndex]
    kind = _KINDS.get(max(code.builtinCode, code.deprecatedBuiltinCode), "?")
    if kind == "CUSTOM":
        kind = f"CUSTOM:{(code.customCode or b'').decode('utf-8', 'replace')}"
    inputs = () if operator.inputs is None else operator.inputs
    read = tuple(values[place] if place >= 0 else None for place in inputs)
    written = tuple(values[place] for place in operator.outputs)
    name = model.subgraphs[0].tensors[operator.outputs[0]].name if written else b""
    attributes = _attributes(operator.builtinOptions)
    return Operator(
        kind,
        (name or b"").decode("utf-8", "replace"),
        read,
        written,
        attributes,
        _multiply_adds(kind, read, written, attributes),
        nested=kind in ("IF", "WHILE", "CALL_ONCE"),
    )


def _attributes(options: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: tuple(value.tolist()) if isinstance(value, np.ndarray) else value
        for name, value in ({} if options is None else vars(options)).items()
    }
    if "fusedActivationFunction" in found:
        found["fusedActivationFunction"] = _ACTIVATIONS[found["fusedActivationFunction"]]
    return found


def _multiply_adds(
    kind: str,
    read: tuple[Value | None, ...],
    written: tuple[Value, ...],
    attributes: dict[str, Any],
) -> int | None:
    """Each output element costs one for each weight, or element of a row, that it sees."""
    if kind not in _COUNTED:
        return 0
    first, second = read[0], read[1]
    if first is None or second is None or not first.shape or not second.shape:
        return None
    made = product(written[0].shape)
    if kind == "BATCH_MATMUL":
        return times(made, first.shape[-2 if attributes["adjX"] else -1])
    if kind == "DEPTHWISE_CONV_2D":  # weights [1, height, width, channels]
        return times(made, *second.shape[1:3])
    if kind == "TRANSPOSE_CONV":  # weights [out, height, width, in]; the third input is the image
        image = read[2]
        return None if image is None else times(product(image.shape), *second.shape[:3])
    return times(made, *second.shape[1:])  # weights [out, ..., in]
