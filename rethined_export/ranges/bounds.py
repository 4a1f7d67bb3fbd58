"""How large tensors can get at all: interval arithmetic, operator by operator.

An interval holds whatever the photo; nothing is known (None) behind an operator that has no rule
here, until one whose results are bounded by themselves. Each operator is taken alone, so intervals
are sound, and wide where operators undo each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rethined_export.lint.graph import Graph, Operator, Value, product
from rethined_export.ranges.inside import output_axis, turned
from rethined_export.ranges.operands import operands
from rethined_export.tracing.tensors import Tensors

Interval = tuple[float, float]
_Floats = np.ndarray[tuple[Any, ...], np.dtype[np.float64]]
_INFINITE = math.inf


def bounds(graph: Graph, stored: Tensors, inputs: Mapping[str, Interval]) -> dict[str, Interval]:
    """The interval of every tensor of which one can be told.

    Args:
        stored: the file's constants. inputs: ranges of what the graph takes, by name of the value.
    """
    found: dict[str, Interval] = dict(inputs)
    for operator in graph.operators:
        rule = _RULES.get(operator.kind)
        if rule is None:
            continue
        try:
            interval = rule(_Read(operator, found, stored))
        except _UnknownError:
            continue
        if math.isnan(interval[0]) or math.isnan(interval[1]):
            continue
        if math.isinf(interval[0]) and math.isinf(interval[1]):
            continue  # which says nothing
        for value in operator.outputs:
            found[value.name] = _activated(operator, interval)
    return found


class _UnknownError(Exception):
    """An operand's interval is needed and not known."""


@dataclass(frozen=True)
class _Read:
    """An operator's operands, as far as they are known."""

    operator: Operator
    found: Mapping[str, Interval]
    stored: Tensors

    @property
    def values(self) -> list[Value]:
        return operands(self.operator)

    def __call__(self, place: int = 0) -> Interval:
        """Of one operand.

        Raises:
            _UnknownError: it is not there, or not known.
        """
        values = self.values
        if place >= len(values):
            raise _UnknownError
        return self.of(values[place])

    def of(self, value: Value) -> Interval:
        if value.name in self.found:
            return self.found[value.name]
        if self._holds(value):
            return self.stored.ranges[value.name]
        raise _UnknownError

    def _holds(self, value: Value) -> bool:
        """Whether it is stored as it is computed with, and not quantised."""
        return value.constant and value.dtype.startswith("float") and value.name in self.stored

    def all(self) -> list[Interval]:
        """Of all operands that hold floats."""
        floats = [value for value in self.values if value.dtype.startswith("float")]
        if not floats or not all(value.dtype for value in self.values):
            raise _UnknownError
        return [self.of(value) for value in floats]

    def data(self, place: int) -> _Floats | None:
        """A stored operand."""
        values = self.values
        if place < len(values) and self._holds(values[place]):
            return np.asarray(self.stored[values[place].name], np.float64)
        return None


_Rule = Callable[[_Read], Interval]


def _activated(operator: Operator, interval: Interval) -> Interval:
    """What TFLite's operators do to their result."""
    limits = {"RELU": (0.0, _INFINITE), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
    name = operator.attributes.get("fusedActivationFunction", "NONE")
    if name == "TANH":
        return math.tanh(interval[0]), math.tanh(interval[1])
    return _clamped(interval, limits.get(name, (-_INFINITE, _INFINITE)))


def _clamped(interval: Interval, limits: Interval) -> Interval:
    low, high = limits
    return min(max(interval[0], low), high), min(max(interval[1], low), high)


def _hull(*intervals: Interval) -> Interval:
    return min(low for low, _ in intervals), max(high for _, high in intervals)


def _product(one: Interval, two: Interval) -> Interval:
    """Zero times infinity is zero: the infinite end is never reached."""
    ends = [0.0 if 0 in (a, b) else a * b for a in one for b in two]
    return min(ends), max(ends)


def _largest(interval: Interval) -> float:
    return max(abs(interval[0]), abs(interval[1]))


# --- Rules ---------------------------------------------------------------------------------------


def _same(read: _Read) -> Interval:
    return read()


def _with_zero(read: _Read) -> Interval:
    return _hull((0.0, 0.0), *read.all())


def _joined(read: _Read) -> Interval:
    return _hull(*read.all())


def _added(read: _Read) -> Interval:
    (a, b), (c, d) = read(0), read(1)
    return a + c, b + d


def _subtracted(read: _Read) -> Interval:
    (a, b), (c, d) = read(0), read(1)
    return a - d, b - c


def _multiplied(read: _Read) -> Interval:
    one, two = read.values[:2]
    if one.name == two.name:
        return _squared(read)
    return _product(read(0), read(1))


def _squared(read: _Read) -> Interval:
    low, high = read()
    least = 0.0 if low <= 0 <= high else min(low * low, high * high)
    return least, max(low * low, high * high)


def _divided(read: _Read) -> Interval:
    low, high = read(1)
    if low <= 0 <= high:
        raise _UnknownError
    return _product(read(0), (1 / high, 1 / low))


def _maximum(read: _Read) -> Interval:
    found = read.all()
    return max(low for low, _ in found), max(high for _, high in found)


def _minimum(read: _Read) -> Interval:
    found = read.all()
    return min(low for low, _ in found), min(high for _, high in found)


def _negated(read: _Read) -> Interval:
    low, high = read()
    return -high, -low


def _magnitude(read: _Read) -> Interval:
    low, high = read()
    return (0.0 if low <= 0 <= high else min(abs(low), abs(high))), _largest((low, high))


def _rising(function: Callable[[float], float], low: float, high: float) -> _Rule:
    """Of a function that never falls, with its own limits, which hold for anything."""

    def rule(read: _Read) -> Interval:
        try:
            ends = read()
        except _UnknownError:
            if math.isinf(low) or math.isinf(high):
                raise
            return low, high
        return function(ends[0]), function(ends[1])

    return rule


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def _exponential(x: float) -> float:
    return math.exp(x) if x < 700 else _INFINITE


def _root(x: float) -> float:
    return math.sqrt(max(x, 0.0))


def _leaky(read: _Read) -> Interval:
    slope = float(read.operator.attributes.get("alpha", 0.01))
    ends = [x if x > 0 else slope * x for x in read()]
    return min(*ends, *([0.0] if read()[0] < 0 < read()[1] else [])), max(ends)


def _clipped(read: _Read) -> Interval:
    """Limits are operands, or attributes in ML Programs; one that is not told is none."""
    said = read.operator.attributes
    low, high = said.get("alpha", -_INFINITE), said.get("beta", _INFINITE)
    if not read.operator.roles:
        given = [*read.operator.inputs[1:3], None, None][:2]
        low = -_INFINITE if given[0] is None else read.of(given[0])[0]
        high = _INFINITE if given[1] is None else read.of(given[1])[1]
    try:
        return _clamped(read(), (low, high))
    except _UnknownError:
        if math.isinf(low) or math.isinf(high):
            raise
        return low, high


def _limited(low: float, high: float) -> _Rule:
    return lambda _read: (low, high)


def _summed(read: _Read) -> Interval:
    """As many elements as one of the result is made of."""
    before, after = product(read.values[0].shape), product(read.operator.outputs[0].shape)
    if not before or not after:
        raise _UnknownError
    count = before / after
    low, high = read()
    return count * low, count * high


def _convolved(read: _Read) -> Interval:
    """Every tap may see the padding's zeros; each output has a sum of its own."""
    weights, bias = read.data(1), read.data(2)
    if weights is None:
        raise _UnknownError
    axis = output_axis(read.operator.kind)
    over = tuple(place for place in range(weights.ndim) if place != axis)
    least, most = _row_sums(weights, over, _hull(read(), (0.0, 0.0)))
    if bias is not None and bias.size == least.size:
        least, most = least + bias, most + bias
    elif bias is not None:  # groups of outputs share weights
        least, most = least + bias.min(), most + bias.max()
    return float(least.min()), float(most.max())


def _matrix_product(read: _Read) -> Interval:
    """With one side stored, row by row; else as many products as a row has elements."""
    bias = read.data(2)
    added = (0.0, 0.0) if bias is None else (float(bias.min()), float(bias.max()))
    turn_one, turn_two = turned(read.operator)
    axes = (-2 if turn_one else -1, -1 if turn_two else -2)
    for place in (1, 0):
        side = read.data(place)
        if side is not None and side.ndim > 1:
            low, high = _sums(side, axes[place], read(1 - place))
            return low + added[0], high + added[1]
    shape = read.values[0].shape
    count = shape[axes[0]] if shape and len(shape) > 1 else None
    if count is None:
        raise _UnknownError
    low, high = _product(read(0), read(1))
    return count * low + added[0], count * high + added[1]


def _sums(weights: _Floats, over: int | tuple[int, ...], interval: Interval) -> Interval:
    least, most = _row_sums(weights, over, interval)
    return float(least.min()), float(most.max())


def _row_sums(
    weights: _Floats, over: int | tuple[int, ...], interval: Interval
) -> tuple[_Floats, _Floats]:
    """The least and the most that each row of weights makes of elements in an interval."""
    low, high = interval
    positive, negative = np.maximum(weights, 0).sum(over), np.minimum(weights, 0).sum(over)
    with np.errstate(invalid="ignore"):  # zero times infinity
        return positive * low + negative * high, positive * high + negative * low


def _powered(read: _Read) -> Interval:
    exponent = read.data(1)
    if exponent is None or exponent.size != 1 or float(exponent.reshape(-1)[0]) != 2:
        raise _UnknownError
    return _squared(read)


def _inverse_root(read: _Read) -> Interval:
    low, high = (end + float(read.operator.attributes.get("epsilon", 0.0)) for end in read())
    if low <= 0:
        raise _UnknownError
    return 1 / math.sqrt(high), 1 / math.sqrt(low)


def _resized(read: _Read) -> Interval:
    """What lies between pixels is never larger, but by cubics."""
    if read.operator.attributes.get("mode") == "cubic":
        raise _UnknownError
    return read()


def _kinds(rule: _Rule, text: str) -> dict[str, _Rule]:
    return dict.fromkeys(text.split(), rule)


#: By kind of any format: ONNX's, TFLite's in capitals, ML Programs' in small letters.
_RULES: dict[str, _Rule] = {
    **_kinds(
        _same,
        "Identity Reshape Transpose Slice Squeeze Unsqueeze Flatten Expand Tile Gather GatherND "
        "GatherElements MaxPool ReduceMean ReduceMax ReduceMin GlobalAveragePool DepthToSpace "
        "SpaceToDepth Split Cast "
        "RESHAPE TRANSPOSE SLICE STRIDED_SLICE SQUEEZE EXPAND_DIMS TILE BROADCAST_TO GATHER "
        "GATHER_ND MAX_POOL_2D AVERAGE_POOL_2D MEAN REDUCE_MAX REDUCE_MIN RESIZE_BILINEAR "
        "RESIZE_NEAREST_NEIGHBOR DEPTH_TO_SPACE SPACE_TO_DEPTH SPLIT CAST MIRROR_PAD "
        "identity reshape transpose slice_by_index slice_by_size squeeze expand_dims tile gather "
        "gather_along_axis gather_nd max_pool reduce_mean reduce_max reduce_min depth_to_space "
        "space_to_depth pixel_shuffle pixel_unshuffle split cast upsample_bilinear "
        "upsample_nearest_neighbor resize_bilinear resize_nearest_neighbor",
    ),
    **_kinds(_with_zero, "Pad AveragePool PAD PADV2 pad avg_pool"),
    **_kinds(_joined, "Concat Where CONCATENATION PACK SELECT SELECT_V2 concat stack select"),
    **_kinds(_added, "Add ADD add"),
    **_kinds(_subtracted, "Sub SUB sub"),
    **_kinds(_multiplied, "Mul MUL mul"),
    **_kinds(_divided, "Div DIV real_div"),
    **_kinds(_maximum, "Max MAXIMUM maximum"),
    **_kinds(_minimum, "Min MINIMUM minimum"),
    **_kinds(_negated, "Neg NEG"),
    **_kinds(_magnitude, "Abs ABS abs"),
    **_kinds(_squared, "SQUARE square"),
    **_kinds(_powered, "Pow POW pow"),
    **_kinds(_leaky, "LeakyRelu LEAKY_RELU leaky_relu"),
    **_kinds(_clipped, "Clip clip"),
    **_kinds(_inverse_root, "RSQRT rsqrt"),
    **_kinds(_summed, "ReduceSum SUM reduce_sum"),
    **_kinds(
        _convolved,
        "Conv ConvTranspose CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV conv conv_transpose",
    ),
    **_kinds(_matrix_product, "MatMul Gemm FULLY_CONNECTED BATCH_MATMUL matmul linear"),
    **_kinds(_resized, "Resize"),
    **_kinds(_rising(lambda x: max(x, 0.0), 0.0, _INFINITE), "Relu RELU relu"),
    **_kinds(_rising(lambda x: min(max(x, 0.0), 6.0), 0.0, 6.0), "RELU6 relu6"),
    **_kinds(_rising(lambda x: min(max(x, 0.0), 1.0), 0.0, 1.0), "RELU_0_TO_1"),
    **_kinds(_rising(lambda x: min(max(x, -1.0), 1.0), -1.0, 1.0), "RELU_N1_TO_1"),
    **_kinds(_rising(lambda x: float(np.rint(x)), -_INFINITE, _INFINITE), "Round ROUND round"),
    **_kinds(_rising(_sigmoid, 0.0, 1.0), "Sigmoid LOGISTIC sigmoid"),
    **_kinds(_rising(math.tanh, -1.0, 1.0), "Tanh TANH tanh"),
    **_kinds(_rising(math.erf, -1.0, 1.0), "Erf erf"),
    **_kinds(_rising(_exponential, 0.0, _INFINITE), "Exp EXP exp"),
    **_kinds(_rising(_root, 0.0, _INFINITE), "Sqrt SQRT sqrt"),
    **_kinds(_limited(-1.0, 1.0), "Sin Cos SIN COS sin cos Sign SIGN sign"),
    **_kinds(
        _limited(0.0, 1.0),
        "Softmax SOFTMAX softmax Greater GreaterOrEqual Less LessOrEqual Equal Not And Or GREATER "
        "GREATER_EQUAL LESS LESS_EQUAL EQUAL NOT_EQUAL LOGICAL_NOT LOGICAL_AND LOGICAL_OR greater "
        "greater_equal less less_equal equal not_equal logical_not logical_and logical_or",
    ),
}
