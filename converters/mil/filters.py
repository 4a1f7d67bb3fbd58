"""Convolution, pooling, normalisation and matrix products."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rethined_export.converters.mil.registry import Call, operator

Pads = list[tuple[int, int]]  # before and after, for each spatial dimension

# torch's stubs give each dimension count its own signature; the rank chooses among them here.
_CONVOLUTION: dict[int, Callable[..., Any]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Callable[..., Any]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}
_MAX_POOL: dict[int, Callable[..., Any]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOL: dict[int, Callable[..., Any]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@operator("conv")
def conv(call: Call) -> Tensor:
    """``(x [n, C, *D], weight [O, C/groups, *K], bias [O], strides, pad_type, pad, dilations,
    groups) -> [n, O, *D']``."""
    x, weight = call.tensor("x"), call.tensor("weight")
    strides, dilations = call.integers("strides"), call.integers("dilations")
    extent = _extent(weight.shape[2:], dilations)
    pads = _pads(call, x.shape[2:], extent, strides)
    padding = _symmetric(pads)
    if padding is None:
        x, padding = _pad(x, pads, 0.0), [0] * len(pads)
    result: Tensor = _CONVOLUTION[x.dim() - 2](
        x, weight, call.optional("bias"), strides, padding, dilations, call.integer("groups")
    )
    return result


@operator("conv_transpose")
def conv_transpose(call: Call) -> Tensor:
    """``(x [n, C, *D], weight [C, O/groups, *K], bias [O], pad, output_shape, pad_type, strides,
    dilations, groups) -> [n, O, *D']``; ``pad`` is cut off the full result."""
    x, weight = call.tensor("x"), call.tensor("weight")
    strides, dilations = call.integers("strides"), call.integers("dilations")
    full = [
        (size - 1) * stride + extent
        for size, stride, extent in zip(
            x.shape[2:], strides, _extent(weight.shape[2:], dilations), strict=True
        )
    ]
    crops = _crops(call, list(x.shape[2:]), full, strides)
    symmetric = [before if before == after else 0 for before, after in crops]
    result: Tensor = _TRANSPOSED[x.dim() - 2](
        x,
        weight,
        call.optional("bias"),
        strides,
        symmetric,
        0,
        call.integer("groups"),
        dilations,
    )
    for axis, (before, after) in enumerate(crops, start=2):
        if before != after:
            result = result.narrow(axis, before, result.shape[axis] - before - after)
    return result


def _crops(call: Call, sizes: list[int], full: list[int], strides: list[int]) -> Pads:
    """What a transposed convolution cuts from its full result."""
    kind = call.text("pad_type")
    pad = call.integers("pad", [0] * (2 * len(sizes)))
    wanted = call.integers("output_shape", [])[2:]
    if kind == "same":
        # The inverse of TensorFlow's SAME: total K - s, the odd element at the end.
        wanted = wanted or [size * stride for size, stride in zip(sizes, strides, strict=True)]
        totals = [have - want for have, want in zip(full, wanted, strict=True)]
        if any(pad) or min(totals) < 0:
            call.unsupported(f"pad_type same with pad {pad} and output {wanted} of {full}")
        return [(total // 2, total - total // 2) for total in totals]
    if kind not in ("custom", "valid") or (kind == "valid" and any(pad)):
        call.unsupported(f"pad_type {kind} with pad {pad}")
    crops = list(zip(pad[::2], pad[1::2], strict=True))
    natural = [have - sum(crop) for have, crop in zip(full, crops, strict=True)]
    if wanted and wanted != natural:
        call.unsupported(f"output_shape {wanted} where pad gives {natural}")
    return crops


@operator("max_pool")
def max_pool(call: Call) -> Tensor:
    """``(x [n, C, *D], kernel_sizes, strides, pad_type, pad, ceil_mode) -> [n, C, *D']``."""
    x, kernel, strides, pads, ceil = _pooling(call)
    padding = _pool_padding(call, pads, kernel, ceil)
    if padding is None:
        x, padding = _pad(x, pads, -math.inf), [0] * len(pads)
    result: Tensor = _MAX_POOL[len(kernel)](x, kernel, strides, padding, 1, ceil)
    return result


@operator("avg_pool")
def avg_pool(call: Call) -> Tensor:
    """As max_pool, and ``exclude_padding_from_average``: divide by the real elements only."""
    x, kernel, strides, pads, ceil = _pooling(call)
    exclude = call.flag("exclude_padding_from_average")
    pool = _AVG_POOL[len(kernel)]
    padding = _pool_padding(call, pads, kernel, ceil)
    if padding is not None:
        result: Tensor = pool(x, kernel, strides, padding, ceil, not exclude)
        return result
    result = pool(_pad(x, pads, 0.0), kernel, strides)
    if exclude:
        share: Tensor = pool(_pad(torch.ones_like(x[:1, :1]), pads, 0.0), kernel, strides)
        result = result / share
    return result


def _pooling(call: Call) -> tuple[Tensor, list[int], list[int], Pads, bool]:
    x, kernel, strides = call.tensor("x"), call.integers("kernel_sizes"), call.integers("strides")
    pads = _pads(call, x.shape[2:], kernel, strides)
    return x, kernel, strides, pads, call.flag("ceil_mode")


def _pool_padding(call: Call, pads: Pads, kernel: list[int], ceil: bool) -> list[int] | None:
    """Padding that torch's pooling takes itself: symmetric, at most half the window; else None."""
    padding = _symmetric(pads)
    if padding and all(2 * side <= size for side, size in zip(padding, kernel, strict=True)):
        return padding
    if ceil:
        call.unsupported(f"ceil_mode with pad {pads}")
    return None


def _extent(kernel: torch.Size, dilations: list[int]) -> list[int]:
    return [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]


def _pads(call: Call, sizes: torch.Size, extent: list[int], strides: list[int]) -> Pads:
    """Padding of a window operator.

    ``same`` gives ceil(size / stride) outputs, as coremltools infers and TensorFlow does, with the
    odd element at the end; ``same_lower`` at the start.
    """
    kind, pad = call.text("pad_type").lower(), call.integers("pad")
    if kind == "custom":
        return list(zip(pad[::2], pad[1::2], strict=True))
    if kind not in ("valid", "same", "same_lower") or any(pad):
        call.unsupported(f"pad_type {kind} with pad {pad}")
    if kind == "valid":
        return [(0, 0)] * len(sizes)
    totals = [
        max(0, (math.ceil(size / stride) - 1) * stride + window - size)
        for size, window, stride in zip(sizes, extent, strides, strict=True)
    ]
    halves = [(total // 2, total - total // 2) for total in totals]
    return halves if kind == "same" else [(after, before) for before, after in halves]


def _symmetric(pads: Pads) -> list[int] | None:
    """The padding as torch's operators take it, None where the two sides differ."""
    return [before for before, _ in pads] if all(one == two for one, two in pads) else None


def _pad(x: Tensor, pads: Pads, value: float) -> Tensor:
    return F.pad(x, [side for pair in reversed(pads) for side in pair], value=value)


@operator("batch_norm")
def batch_norm(call: Call) -> Tensor:
    """``(x [n, C, *D], mean, variance, gamma, beta, epsilon) -> same shape``; vectors are [C]."""
    return F.batch_norm(
        call.tensor("x"),
        call.tensor("mean"),
        call.tensor("variance"),
        call.optional("gamma"),
        call.optional("beta"),
        eps=call.number("epsilon"),
    )


@operator("linear")
def linear(call: Call) -> Tensor:
    """``(x [*, I], weight [O, I], bias [O]) -> [*, O]``."""
    return F.linear(call.tensor("x"), call.tensor("weight"), call.optional("bias"))


@operator("matmul")
def matmul(call: Call) -> Tensor:
    """``(x, y, transpose_x, transpose_y)``: batched, with NumPy's broadcasting."""
    x, y = call.tensor("x"), call.tensor("y")
    # The flags have no effect on vectors.
    if call.flag("transpose_x") and x.dim() > 1:
        x = x.transpose(-1, -2)
    if call.flag("transpose_y") and y.dim() > 1:
        y = y.transpose(-1, -2)
    return torch.matmul(x, y)
