"""ONNX in float16, inputs and outputs aside.

ONNX Runtime's own converter writes some names twice where a constant is read in both types, which
its loader then refuses.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
#: The ends of float16's positive numbers.
_SMALLEST, _LARGEST = 2.0**-24, 65504.0
#: Places of inputs that stay floats by the operator's definition.
_ALWAYS_FLOAT = {"Resize": (1, 2)}
#: Operators whose results carry a type of their own.
_TYPED = frozenset({"Constant", "ConstantOfShape", "EyeLike", "Range"})
#: Constants of fewer bytes stay as they are where only large ones are halved.
_LARGE = 4096
_LEFT_ALONE = frozenset(
    ["Conv", "ConvTranspose", "Gather", "Gemm", "MatMul", "QuantizeLinear", "DequantizeLinear"]
)
#: What an index may have gone through as a float before it was cast: moves and plain arithmetic.
_INDEX_PATH = frozenset(
    [
        "Gather",
        "Reshape",
        "Transpose",
        "Slice",
        "Concat",
        "Unsqueeze",
        "Squeeze",
        "Expand",
        "Identity",
        "Cast",
        "Split",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Floor",
        "Ceil",
        "Round",
        "Mod",
        "Where",
        "Min",
        "Max",
        "Clip",
    ]
)
#: What sets a result into the photo: known pixels must come back as they came.
_COMPOSITION = frozenset(
    ["Add", "Sub", "Mul", "Where", "Clip", "Concat", "Slice", "Reshape", "Transpose", "Identity"]
)


def halve(model: Any) -> Any:
    """A model whose floats are float16 but for its inputs, outputs, indices and last composition.

    Args:
        model: with types of all values; it is left alone.
    """
    return _Halving(model).made()


def to_half(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Rounded to float16; what is finite stays so, and what is not zero does not become zero.

    An epsilon that keeps 0 from being divided by 0 is often less than any float16.
    """
    finite = np.isfinite(values)
    bounded = np.where(finite, np.clip(values, -_LARGEST, _LARGEST), values)
    least = np.copysign(_SMALLEST, values)
    tiny = (values != 0) & (np.abs(values) < _SMALLEST)
    made: npt.NDArray[np.float16] = np.where(tiny, least, bounded).astype(np.float16)
    return made


def halve_constants(graph: Any, layers: frozenset[str]) -> None:
    """Store large floats, such as codes of places, in float16 and cast them before use.

    Tables are left alone: what they hold may be indices.

    Args:
        layers: names of those whose weights too are halved; others' are left alone.
    """
    left = [n for n in graph.node if n.op_type in _LEFT_ALONE and n.name not in layers]
    alone = {name for node in left for name in node.input}
    casts = []
    for stored in graph.initializer:
        if stored.data_type != FLOAT or stored.name in alone or stored.ByteSize() < _LARGE:
            continue
        name, half = stored.name, f"{stored.name}_half"
        values = to_half(numpy_helper.to_array(stored))
        stored.CopyFrom(numpy_helper.from_array(values, half))
        casts.append(helper.make_node("Cast", [half], [name], to=FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def kept_nodes(graph: Any, types: dict[str, int]) -> set[int]:
    """Nodes that must stay in fp32, by their place: what indices and the last composition are
    made of."""
    makers = {name: place for place, node in enumerate(graph.node) for name in node.output}
    kept: set[int] = set()

    def follow(name: str, operators: frozenset[str]) -> None:
        place = makers.get(name)
        if place is None or place in kept or types.get(name) != FLOAT:
            return
        node = graph.node[place]
        if node.op_type in operators:
            kept.add(place)
            for given in node.input:
                follow(given, operators)

    for place, node in enumerate(graph.node):
        into = types.get(node.output[0])
        if node.op_type == "Cast" and into in (TensorProto.INT32, TensorProto.INT64):
            kept.add(place)
            follow(node.input[0], _INDEX_PATH)
    for output in graph.output:
        follow(output.name, _COMPOSITION)
    return kept


def types_of(model: Any) -> dict[str, int]:
    """Element type of every value."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.value_info, *graph.input, *graph.output]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {stored.name: stored.data_type for stored in graph.initializer}


class _Halving:
    """Goes through the nodes in order; a value is cast where a node wants it in the other type."""

    def __init__(self, model: Any) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self._types = types_of(model)
        graph = self._model.graph
        self._stored = {stored.name: stored for stored in graph.initializer}
        self._now = dict.fromkeys((v.name for v in graph.input), FLOAT)
        self._halves: dict[str, Any] = {}
        self._casts: dict[tuple[str, int], str] = {}
        self._read: set[str] = set()

    def made(self) -> Any:
        graph = self._model.graph
        kept = kept_nodes(graph, self._types)
        nodes = [
            made
            for place, node in enumerate(graph.node)
            for made in self._nodes(node, place in kept or node.op_type in _TYPED)
        ]
        del graph.node[:]
        graph.node.extend(nodes)
        stored = [one for name, one in self._stored.items() if name in self._read]
        del graph.initializer[:]
        graph.initializer.extend([*stored, *self._halves.values()])
        del graph.value_info[:]
        return self._model

    def _nodes(self, node: Any, exact: bool) -> Iterator[Any]:
        """A node in its new type, after the casts that it needs and before those of outputs."""
        made = onnx.NodeProto()
        made.CopyFrom(node)
        kind = FLOAT if exact else HALF
        for place, name in enumerate(node.input):
            wanted = FLOAT if place in _ALWAYS_FLOAT.get(node.op_type, ()) else kind
            made.input[place], cast = self._given(name, wanted)
            if cast is not None:
                yield cast
        if not exact and node.op_type == "Cast":
            for attribute in made.attribute:
                if attribute.name == "to" and attribute.i == FLOAT:
                    attribute.i = HALF
        outputs = {output.name for output in self._model.graph.output}
        after = []
        for place, name in enumerate(node.output):
            if self._types.get(name) != FLOAT:
                continue
            self._now[name] = kind
            if name in outputs and kind == HALF:
                half = f"{name}_half"
                made.output[place] = half
                after.append(helper.make_node("Cast", [half], [name], to=FLOAT))
                self._now[name] = FLOAT
        yield made
        yield from after

    def _given(self, name: str, kind: int) -> tuple[str, Any]:
        """A value's name in a type, and the cast that makes it where it is new."""
        if self._types.get(name) != FLOAT or self._now.get(name, FLOAT) == kind:
            self._read.add(name)
            return name, None
        if name in self._stored:
            half = f"{name}_half"
            if half not in self._halves:
                values = to_half(numpy_helper.to_array(self._stored[name]))
                self._halves[half] = numpy_helper.from_array(values, half)
            return half, None
        self._read.add(name)
        if (name, kind) in self._casts:
            return self._casts[name, kind], None
        made = self._casts[name, kind] = f"{name}_as_{'float' if kind == FLOAT else 'half'}"
        return made, helper.make_node("Cast", [name], [made], to=kind)
