"""ONNX with the weights and activations of its layers in 8 bits, as pairs of quantise and
dequantise around them that runtimes fuse.

Ours and not ONNX Runtime's quantiser: that puts a quantised tensor before all who read it, so that
a mask, a photo or a score would be rounded where only a convolution should read it so.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

#: Place of the weights among a layer's inputs, and of the bias.
WEIGHT, BIAS = 1, 2
#: Operators with weights, and the axis of those that is their output channels'.
LAYERS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}

Range = tuple[float, float]
Floats = npt.NDArray[np.float32]


def layers_of(graph: Any) -> Iterator[Any]:
    """Convolutions, and products with a constant on their right."""
    stored = {one.name for one in graph.initializer}
    for node in graph.node:
        if node.op_type in LAYERS and node.input[WEIGHT] in stored:
            yield node


def behind(graph: Any) -> dict[str, str]:
    """Of what each layer gives, where its pair belongs: behind a rectifier that alone reads it."""
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {output.name for output in graph.output}
    found = {}
    for node in layers_of(graph):
        name = node.output[0]
        alone = readers.get(name, [])
        if len(alone) == 1 and alone[0].op_type == "Relu" and name not in outputs:
            name = alone[0].output[0]
        if name not in outputs:
            found[node.output[0]] = name
    return found


def axis_of(node: Any, shape: tuple[int, ...]) -> int | None:
    """The axis of a layer's weights that is its output channels'; None: one scale for all."""
    if node.op_type == "MatMul":
        return len(shape) - 1
    attributes = {one.name: one.i for one in node.attribute}
    if node.op_type == "Gemm":
        return 0 if attributes.get("transB") else 1
    if node.op_type == "ConvTranspose" and attributes.get("group", 1) > 1:
        return None
    return LAYERS[node.op_type]


def to_int8(values: Floats, axis: int | None) -> tuple[npt.NDArray[np.int8], Floats]:
    """Symmetric int8 with a scale for each slice along an axis, or for all."""
    others = None if axis is None else tuple(i for i in range(values.ndim) if i != axis)
    size = np.abs(values).max(axis=others)
    # As small as 1 / scale can be in fp32.
    scales = np.where(size > _LEAST, size / 127, 1).astype(np.float32)
    steps = np.rint(values / _along(scales, axis, values.ndim))
    return np.clip(steps, -127, 127).astype(np.int8), scales


#: A weight below it is zero: the smallest normal number of fp32 leaves no room for a step.
_LEAST = 1e-30


def _along(scales: Floats, axis: int | None, rank: int) -> Floats:
    """Scales in a shape that goes with the weights."""
    return scales if axis is None else scales.reshape([-1 if i == axis else 1 for i in range(rank)])


def to_uint8(span: Range) -> tuple[np.float32, np.uint8]:
    """Scale and zero point of a range; 0 is always exact."""
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    scale = np.float32((high - low) / 255) if high - low > _LEAST else np.float32(1)
    return scale, np.uint8(np.clip(np.rint(-low / float(scale)), 0, 255))


class Integers:
    """A graph to quantise.

    Args:
        model: nodes have names; it is changed.
        names: layers to quantise.
        stored: others, whose weights alone are.
    """

    def __init__(self, model: Any, names: Collection[str], stored: Collection[str] = ()) -> None:
        self._graph = model.graph
        self._stored = {one.name: one for one in self._graph.initializer}
        self._names, self._only_stored = frozenset(names), frozenset(stored)
        self._made: dict[str, Any] = {}

    def weights(self) -> None:
        """Weights alone: made floats again, once, when a runtime loads them."""
        first = []
        for node in self._wanted():
            first += self._stored_weight(node)
        self._finish([*first, *self._graph.node])

    def all(self, ranges: Mapping[str, Range]) -> None:
        """Weights, biases and activations, by the ranges of what layers take and give."""
        pairs, nodes = behind(self._graph), []
        given: dict[str, str] = {}
        wanted = {node.name: node for node in self._wanted()}
        after = {pairs[n.output[0]] for n in wanted.values() if n.output[0] in pairs}
        for node in list(self._graph.node):
            nodes.append(node)
            if node.name in wanted:
                nodes[-1:] = [*self._pair_before(node, ranges, given), *self._weight(node),
                              *self._bias(node, ranges), node]  # fmt: skip
            elif node.name in self._only_stored:
                nodes[-1:] = [*self._stored_weight(node), node]
            for place, name in enumerate(node.output):
                if name in after:
                    node.output[place] = f"{name}_raw"
                    nodes += self._pair(f"{name}_raw", name, ranges[name])
        self._finish(nodes)

    def _wanted(self) -> list[Any]:
        return [node for node in layers_of(self._graph) if node.name in self._names]

    def _store(self, name: str, values: Any) -> str:
        self._made[name] = numpy_helper.from_array(np.asarray(values), name)
        return name

    def _weight(self, node: Any) -> list[Any]:
        """Put a layer's weights into int8; the node that dequantises them, if it is new."""
        made = self._in_steps(node)
        if made is None:
            return []
        name, axis, _ = made
        given = [f"{name}_int8", f"{name}_scale"]
        along: dict[str, Any] = {} if axis is None else {"axis": axis}
        return [helper.make_node("DequantizeLinear", given, [f"{name}_float"], **along)]

    def _stored_weight(self, node: Any) -> list[Any]:
        """The same for a layer that computes in floats: a cast and a product.

        Runtimes compute those once. ONNX Runtime leaves DequantizeLinear in, for what it might be
        fused with: a quarter more time for RETHINED, and activations of products in 8 bits.
        """
        made = self._in_steps(node)
        if made is None:
            return []
        name, axis, rank = made
        scales = numpy_helper.to_array(self._made[f"{name}_scale"])
        spread = self._store(f"{name}_scales", _along(scales, axis, rank))
        whole = f"{name}_whole"
        return [
            helper.make_node("Cast", [f"{name}_int8"], [whole], to=TensorProto.FLOAT),
            helper.make_node("Mul", [whole, spread], [f"{name}_float"]),
        ]

    def _in_steps(self, node: Any) -> tuple[str, int | None, int] | None:
        """Store a layer's weights as int8 and scales, and let it read floats made of them.

        Returns:
            Their name, the axis of scales, and the rank; None where that was done for another.
        """
        name = node.input[WEIGHT]
        node.input[WEIGHT] = f"{name}_float"
        if f"{name}_int8" in self._made:
            return None
        values = numpy_helper.to_array(self._stored[name])
        axis = axis_of(node, values.shape)
        steps, scales = to_int8(values, axis)
        self._store(f"{name}_int8", steps)
        self._store(f"{name}_scale", scales)
        return name, axis, values.ndim

    def _bias(self, node: Any, ranges: Mapping[str, Range]) -> list[Any]:
        """A convolution's bias in the steps that its sums are made of."""
        if not node.op_type.startswith("Conv") or len(node.input) <= BIAS or not node.input[BIAS]:
            return []
        name, weight = node.input[BIAS], node.input[WEIGHT].removesuffix("_float")
        taken = node.input[0].removesuffix("_read")
        step = to_uint8(ranges[taken])[0] * numpy_helper.to_array(self._made[f"{weight}_scale"])
        values = numpy_helper.to_array(self._stored[name])
        own = f"{name}_{node.name}"
        steps = np.rint(values.astype(np.float64) / step).clip(-(2**31), 2**31 - 1)
        given = [
            self._store(f"{own}_int32", steps.astype(np.int32)),
            self._store(f"{own}_scale", step.astype(np.float32)),
        ]
        node.input[BIAS] = f"{own}_float"
        along: dict[str, Any] = {"axis": 0} if step.ndim else {}
        return [helper.make_node("DequantizeLinear", given, [f"{own}_float"], **along)]

    def _pair_before(
        self, node: Any, ranges: Mapping[str, Range], given: dict[str, str]
    ) -> list[Any]:
        """What a layer reads, quantised for it and other layers alone."""
        name = node.input[0]
        node.input[0] = f"{name}_read"
        if name in given:
            return []
        given[name] = node.input[0]
        return self._pair(name, node.input[0], ranges[name])

    def _pair(self, source: str, into: str, span: Range) -> list[Any]:
        scale, zero = to_uint8(span)
        facts = [self._store(f"{into}_scale", scale), self._store(f"{into}_zero", zero)]
        return [
            helper.make_node("QuantizeLinear", [source, *facts], [f"{into}_uint8"]),
            helper.make_node("DequantizeLinear", [f"{into}_uint8", *facts], [into]),
        ]

    def _finish(self, nodes: list[Any]) -> None:
        """Set the nodes, and keep the constants that are still read."""
        graph = self._graph
        read = {name for node in nodes for name in node.input}
        kept = [*graph.initializer, *self._made.values()]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(nodes)
        graph.initializer.extend(one for one in kept if one.name in read)
