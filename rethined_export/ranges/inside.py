"""What operators hold within themselves while they run: sums, squares, products.

Accelerators that compute in float16 may keep these in it too. Sums are measured as those of
magnitudes, since nobody promises an order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from rethined_export.lint.graph import Operator
from rethined_export.ranges.operands import axes, operands
from rethined_export.tracing.tensors import Tensors

SUM, SQUARES, PRODUCTS, DIVISOR = "sum", "sum of squares", "sum of products", "divisor"
Floats = npt.NDArray[np.float32]

_SUMS = (
    "ReduceMean", "ReduceSum", "ReduceL1", "GlobalAveragePool", "MEAN", "SUM", "reduce_mean",
    "reduce_sum", "reduce_l1_norm",
)  # fmt: skip
_SQUARES = ("ReduceL2", "ReduceSumSquare", "reduce_l2_norm", "reduce_sum_square")
_NORMS = ("InstanceNormalization", "LayerNormalization", "instance_norm", "layer_norm")
_CONVOLUTIONS = (
    "Conv", "ConvTranspose", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "conv",
    "conv_transpose",
)  # fmt: skip
_PRODUCTS = ("MatMul", "Gemm", "FULLY_CONNECTED", "BATCH_MATMUL", "matmul", "linear")
#: Which operand is divided by, or has its inverse taken.
_DIVISORS = {
    "Div": 1, "DIV": 1, "real_div": 1, "Reciprocal": 0, "RSQRT": 0, "rsqrt": 0, "inverse": 0,
    "Log": 0, "LOG": 0, "log": 0,
}  # fmt: skip


def inside(operator: Operator, tensors: Tensors) -> dict[str, float]:
    """Largest magnitude of each kind that an operator holds within itself in a run.

    Of divisors it is the smallest. Sums of products are exact for matrix products; those of
    convolutions are at most this.
    """
    measure = _MEASURES.get(operator.kind)
    if measure is None:
        return {}
    given = [tensors[value.name] for value in operands(operator) if value.name in tensors]
    floats = [value.astype(np.float32, copy=False) for value in given if value.dtype.kind == "f"]
    return measure(operator, floats) if floats else {}


def _sums(operator: Operator, values: list[Floats]) -> dict[str, float]:
    over = axes(operator, values[0].ndim)
    return {SUM: _largest(np.abs(values[0]).sum(over, dtype=np.float64))}


def _squares(operator: Operator, values: list[Floats]) -> dict[str, float]:
    over = axes(operator, values[0].ndim)
    return {SQUARES: _largest(np.square(values[0]).sum(over, dtype=np.float64))}


def _norms(operator: Operator, values: list[Floats]) -> dict[str, float]:
    over, x = axes(operator, values[0].ndim), values[0]
    squares = np.square(x - x.mean(over, keepdims=True)).sum(over, dtype=np.float64)
    return {SUM: _largest(np.abs(x).sum(over, dtype=np.float64)), SQUARES: _largest(squares)}


def _convolutions(operator: Operator, values: list[Floats]) -> dict[str, float]:
    if len(values) < 2:
        return {}
    weights = np.abs(values[1]).sum(_all_but(values[1].ndim, output_axis(operator.kind)))
    return {PRODUCTS: _largest(weights) * _largest(np.abs(values[0]))}


def _products(operator: Operator, values: list[Floats]) -> dict[str, float]:
    if len(values) < 2:
        return {}
    one, two = (np.abs(value) for value in values[:2])
    turn_one, turn_two = turned(operator)
    if turn_one and one.ndim > 1:
        one = one.swapaxes(-1, -2)
    if operator.kind == "FULLY_CONNECTED":  # whose rows may have any shape
        one = one.reshape(-1, two.shape[-1])
    if turn_two and two.ndim > 1:
        two = two.swapaxes(-1, -2)
    return {PRODUCTS: _largest(np.matmul(one, two))}


def _divisors(operator: Operator, values: list[Floats]) -> dict[str, float]:
    place = _DIVISORS[operator.kind]
    if place >= len(values) or not values[place].size:
        return {}
    return {DIVISOR: float(np.abs(values[place]).min())}


def output_axis(kind: str) -> int:
    """Axis of a convolution's weights that its outputs lie along."""
    return {"ConvTranspose": 1, "conv_transpose": 1, "DEPTHWISE_CONV_2D": 3}.get(kind, 0)


def turned(operator: Operator) -> tuple[bool, bool]:
    """Whether a matrix product turns its first and its second side before it multiplies them.

    Weights of linear layers have their outputs first.
    """
    said = operator.attributes
    first = bool(said.get("adjX") or said.get("transpose_x") or said.get("transA"))
    second = bool(said.get("adjY") or said.get("transpose_y") or said.get("transB"))
    return first, second or operator.kind in ("FULLY_CONNECTED", "linear")


def _all_but(rank: int, axis: int) -> tuple[int, ...]:
    return tuple(place for place in range(rank) if place != axis)


def _largest(values: npt.NDArray[Any]) -> float:
    return float(values.max(initial=0))


_Measure = Callable[[Operator, list[Floats]], dict[str, float]]
_MEASURES: dict[str, _Measure] = {
    **dict.fromkeys(_SUMS, _sums),
    **dict.fromkeys(_SQUARES, _squares),
    **dict.fromkeys(_NORMS, _norms),
    **dict.fromkeys(_CONVOLUTIONS, _convolutions),
    **dict.fromkeys(_PRODUCTS, _products),
    **dict.fromkeys(_DIVISORS, _divisors),
}
