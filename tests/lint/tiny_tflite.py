"""TFLite models of a few operators, and what LiteRT's own XNNPACK delegate takes of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from rethined_export.converters.tflite import pack

FLOAT, INT = "FLOAT32", "INT32"
_NUMPY = {"FLOAT32": np.float32, "INT32": np.int32, "FLOAT16": np.float16, "BOOL": np.bool_}


@dataclass
class Tensor:
    """A tensor of a model to come; ``data`` makes it a constant."""

    shape: tuple[int, ...]
    dtype: str = FLOAT
    data: Any = None


def constant(data: Any, dtype: str = INT) -> Tensor:
    array = np.asarray(data, _NUMPY[dtype])
    return Tensor(array.shape, dtype, array)


def weights(*shape: int) -> Tensor:
    return constant(np.ones(shape), FLOAT)


@dataclass
class Step:
    """One operator; ``options`` names the schema's table and its fields."""

    kind: str
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    options: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


def tflite_model(*steps: Step) -> bytes:
    """A model of these operators; tensors are told apart as objects."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.operatorCodes = 3, [schema.BufferT()], []
    graph.tensors, graph.operators = [], []
    places: dict[int, int] = {}

    def place(tensor: Tensor) -> int:
        if id(tensor) not in places:
            made = schema.TensorT()
            made.type, made.shape = getattr(schema.TensorType, tensor.dtype), list(tensor.shape)
            made.name = f"t{len(places)}"
            if tensor.data is not None:
                buffer = schema.BufferT()
                buffer.data = np.frombuffer(tensor.data.tobytes(), np.uint8)
                model.buffers.append(buffer)
                made.buffer = len(model.buffers) - 1
            graph.tensors.append(made)
            places[id(tensor)] = len(places)
        return places[id(tensor)]

    for number, step in enumerate(steps):
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = getattr(schema.BuiltinOperator, step.kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = 1
        model.operatorCodes.append(code)
        operator.opcodeIndex = number
        operator.inputs = [place(tensor) for tensor in step.inputs]
        operator.outputs = [place(tensor) for tensor in step.outputs]
        if step.options:
            operator.builtinOptions = getattr(schema, f"{step.options}T")()
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, step.options)
            for name, value in step.fields.items():
                setattr(operator.builtinOptions, name, value)
        graph.operators.append(operator)
    read = [tensor for step in steps for tensor in step.inputs if tensor.data is None]
    written = [tensor for step in steps for tensor in step.outputs]
    graph.inputs = list(dict.fromkeys(place(t) for t in read if not any(t is w for w in written)))
    graph.outputs = [place(t) for t in written if not any(t is r for r in read)]
    model.subgraphs = [graph]
    return pack(model)


def delegated(path: Path) -> tuple[set[int], int]:
    """Numbers of the operators that XNNPACK takes over by default, and into how many parts.

    The interpreter lists each part as an operator of its own behind the file's; what lies between
    its outputs and its inputs is what it replaces.
    """
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    listed = interpreter._get_ops_details()
    parts = [one for one in listed if one["op_name"] == "DELEGATE"]
    writer = {
        tensor: one for one in listed if one["op_name"] != "DELEGATE" for tensor in one["outputs"]
    }
    taken: set[int] = set()
    for part in parts:
        ends, waiting = set(part["inputs"]), list(part["outputs"])
        while waiting:
            tensor = waiting.pop()
            if tensor in ends or tensor not in writer or writer[tensor]["index"] in taken:
                continue
            taken.add(writer[tensor]["index"])
            waiting += list(writer[tensor]["inputs"])
    return taken, len(parts)
