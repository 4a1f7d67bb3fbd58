"""What a quantiser leaves in a flatbuffer: large constants, and the names of tensors."""

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

#: Operators with weights, which the quantiser sees to.
LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
#: Constants of fewer bytes stay as they are.
_LARGE = 4096
#: Version of DEQUANTIZE that takes float16.
_HALF_VERSION = 3
#: The two ways between channels first and last.
_TURNS = ((0, 3, 1, 2), (0, 2, 3, 1))


class Halving:
    """Large floats that no layer reads, such as codes of places, in float16 and cast before use.

    One that is another in the other layout is made of that. Tables are left alone: what they hold
    may be indices.
    """

    def __init__(self, model: Any) -> None:
        self._model, self._graph = model, model.subgraphs[0]
        self._done: list[tuple[int, npt.NDArray[np.float32]]] = []
        self._first: list[Any] = []

    def halve(self) -> None:
        """Change the model."""
        readers = _readers(self._model)
        for place in range(len(self._graph.tensors)):
            kinds = readers[place]
            if kinds and not kinds & {"GATHER", *LAYERS}:
                self._halve(place)
        self._graph.operators = [*self._first, *self._graph.operators]

    def _halve(self, place: int) -> None:
        tensor = self._graph.tensors[place]
        data = self._model.buffers[tensor.buffer].data
        if tensor.type != schema.TensorType.FLOAT32 or data is None or len(data) < _LARGE:
            return
        values = np.frombuffer(bytes(data), np.float32).reshape(tensor.shape)
        if all(o is tensor or o.buffer != tensor.buffer for o in self._graph.tensors):
            self._model.buffers[tensor.buffer].data = None
        tensor.buffer = 0
        source = self._turned(values)
        if source is None:
            half = self._constant(values.astype(np.float16), schema.TensorType.FLOAT16)
            self._add("DEQUANTIZE", [half], place, "DequantizeOptions")
            self._done.append((place, values))
        else:
            self._add("TRANSPOSE", list(source), place, "TransposeOptions")

    def _turned(self, values: npt.NDArray[np.float32]) -> tuple[int, int] | None:
        """Places of a constant that has the same values in the other layout, and of the turn."""
        for place, other in self._done:
            for turn in _TURNS if values.ndim == other.ndim == len(_TURNS[0]) else ():
                if np.array_equal(other.transpose(turn), values):
                    return place, self._constant(np.array(turn, np.int32), schema.TensorType.INT32)
        return None

    def _constant(self, values: npt.NDArray[Any], kind: int) -> int:
        """A new tensor; its place."""
        tensor, buffer = schema.TensorT(), schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        tensor.type, tensor.shape, tensor.name = kind, list(values.shape), b"constant"
        tensor.buffer = len(self._model.buffers)
        self._model.buffers.append(buffer)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _add(self, kind: str, inputs: list[int], into: int, options: str) -> None:
        """An operator before all others."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(kind)
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([into], np.int32)
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        operator.builtinOptions = getattr(schema, f"{options}T")()
        self._first.append(operator)

    def _code(self, kind: str) -> int:
        """Place of an operator's code, of a version that takes what it is given here."""
        number, codes = getattr(schema.BuiltinOperator, kind), self._model.operatorCodes
        least = _HALF_VERSION if kind == "DEQUANTIZE" else 1
        for place, code in enumerate(codes):
            if code.builtinCode == number:
                code.version = max(code.version, least)
                return place
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = number
        code.version = least
        codes.append(code)
        return len(codes) - 1


def _readers(model: Any) -> dict[int, set[str]]:
    """Of every tensor, the kinds of operators that read it."""
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    found = defaultdict(set)
    for operator in model.subgraphs[0].operators:
        kind = names[model.operatorCodes[operator.opcodeIndex].builtinCode]
        for tensor in operator.inputs:
            found[int(tensor)].add(kind)
    return found


def shorten_names(model: Any) -> None:
    """Tensors are named by their whole origin in torch, which takes more room than some weights.

    Those of the boundary get the signature's names: a quantised output is a tensor of its own.
    """
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    for entry in (*signature.inputs, *signature.outputs):
        graph.tensors[entry.tensorIndex].name = entry.name
    boundary = {int(place) for place in (*graph.inputs, *graph.outputs)}
    for place, tensor in enumerate(graph.tensors):
        if place not in boundary:
            origin = tensor.name.split(b";")[0].rsplit(b"/", 1)[-1].rsplit(b".", 1)[-1]
            attribute = origin.partition(b"_")[2] or origin  # behind the class
            tensor.name = b"%s;%d" % (attribute, place)
