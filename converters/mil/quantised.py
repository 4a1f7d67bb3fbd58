"""Quantisation of activations."""

import torch
from torch import Tensor

from rethined_export.converters.mil.registry import Call, operator

#: Least and largest number of each type.
_RANGES = {"int8": (-128, 127), "uint8": (0, 255)}


@operator("quantize")
def quantize(call: Call) -> Tensor:
    """``(input, scale, zero_point, axis, output_dtype)``: ``round(x / scale) + zero_point``,
    halves to even, clipped to the type; held as int32."""
    kind = call.text("output_dtype")
    if kind not in _RANGES:
        call.unsupported(f"output_dtype {kind}")
    scale, zero = _spread(call)
    low, high = _RANGES[kind]
    return (torch.round(call.tensor("input") / scale) + zero).clamp(low, high).to(torch.int32)


@operator("dequantize")
def dequantize(call: Call) -> Tensor:
    """``(input, scale, zero_point, axis)``: ``scale · (q − zero_point)``."""
    scale, zero = _spread(call)
    return scale * (call.tensor("input").to(torch.float32) - zero)


def _spread(call: Call) -> tuple[Tensor, Tensor | float]:
    """Scale and zero point, along the axis where there is one for each slice of it."""
    x, scale, zero = call.tensor("input"), call.tensor("scale"), call.optional("zero_point")
    if scale.dim() == 0:
        call.given("axis")
        return scale, 0.0 if zero is None else zero.to(torch.float32)
    shape = [1] * x.dim()
    shape[call.integer("axis")] = -1
    shift = 0.0 if zero is None else zero.to(torch.float32).reshape(shape)
    return scale.reshape(shape), shift
