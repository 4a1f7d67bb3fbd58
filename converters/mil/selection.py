"""Reductions, and operators that choose elements by index or by value."""

from collections.abc import Callable

import torch
from torch import Tensor

from rethined_export.converters.mil.registry import Call, Operator, Result, operator
from rethined_export.converters.types import ArtifactError

Reduction = Callable[[Tensor, list[int], bool], Tensor]


def _reduction(function: Reduction) -> Operator:
    """``(x, axes, keep_dims)``: over all axes without ``axes``."""

    def reduce(call: Call) -> Tensor:
        x = call.tensor("x")
        axes = call.integers("axes", list(range(x.dim())))
        return function(x, axes, call.flag("keep_dims"))

    return reduce


_REDUCTIONS: dict[str, Reduction] = {
    "reduce_max": torch.amax,
    "reduce_min": torch.amin,
    # dtype: torch would widen sums of int32.
    "reduce_sum": lambda x, axes, keep: torch.sum(x, axes, keep, dtype=x.dtype),
    "reduce_mean": torch.mean,
    "reduce_sum_square": lambda x, axes, keep: torch.sum(x * x, axes, keep, dtype=x.dtype),
    "reduce_l2_norm": lambda x, axes, keep: torch.sqrt(torch.sum(x * x, axes, keep)),
    "reduce_log_sum_exp": torch.logsumexp,
}
for _kind, _function in _REDUCTIONS.items():
    operator(_kind)(_reduction(_function))


@operator("reduce_argmax", "reduce_argmin")
def reduce_arg(call: Call) -> Tensor:
    """``(x, axis, keep_dims, output_dtype)``; Core ML leaves the choice among ties open."""
    function = torch.argmax if call.kind == "reduce_argmax" else torch.argmin
    call.given("output_dtype")  # the declared type of the result says the same
    return function(call.tensor("x"), call.integer("axis"), call.flag("keep_dims"))


@operator("topk")
def topk(call: Call) -> Result:
    """``(x, k, axis, ascending, sort, return_indices, output_indices_dtype)``: values, indices.

    The result is sorted also where ``sort`` is False, which permits any order.
    """
    x, k, axis = call.tensor("x"), call.integer("k"), call.integer("axis")
    call.given("sort")
    call.given("output_indices_dtype")  # the declared type of the result says the same
    k = x.shape[axis] if k == -1 else k
    values, indices = torch.topk(x, k, axis, largest=not call.flag("ascending"))
    if call.given("return_indices") and not call.flag("return_indices"):
        return values
    return values, indices


@operator("gather")
def gather(call: Call) -> Tensor:
    """``(x [*D], indices [*N], axis, batch_dims, validate_indices)``.

    Returns ``D[:axis] + N[batch_dims:] + D[axis + 1:]``.
    """
    x, axis = call.tensor("x"), call.integer("axis")
    axis %= x.dim()
    batch = call.integer("batch_dims") if call.given("batch_dims") else 0
    if batch > axis:
        call.unsupported(f"batch_dims {batch} beyond axis {axis}")
    indices = _indices(call, x.shape[axis])
    shape = x.shape[:axis] + indices.shape[batch:] + x.shape[axis + 1 :]
    if batch == 0:
        return x.index_select(axis, indices.reshape(-1)).reshape(shape)
    if x.shape[:batch] != indices.shape[:batch]:
        raise ArtifactError(f"gather ({call.name}): batch sizes of x and indices differ")
    pairs = zip(x.flatten(0, batch - 1), indices.flatten(0, batch - 1), strict=True)
    taken = [one.index_select(axis - batch, index.reshape(-1)) for one, index in pairs]
    return torch.stack(taken).reshape(shape)


@operator("gather_along_axis")
def gather_along_axis(call: Call) -> Tensor:
    """``(x, indices, axis, validate_indices)``: one element of ``axis`` for each index."""
    x, axis = call.tensor("x"), call.integer("axis")
    return x.gather(axis, _indices(call, x.shape[axis]))


def _indices(call: Call, size: int) -> Tensor:
    """Indices into an axis of ``size`` elements, int64, none negative.

    Negative ones count from the end before iOS 17 and are out of bounds since, where the operator
    has ``validate_indices``. Core ML leaves out-of-bounds reads undefined: they raise ArtifactError
    whether the program asks for validation or not.
    """
    indices = call.tensor("indices").to(torch.int64)
    lowest = 0 if call.given("validate_indices") else -size
    if indices.numel():
        low, high = (int(bound) for bound in torch.aminmax(indices))
        if low < lowest or high >= size:
            raise ArtifactError(
                f"{call.kind} ({call.name}): indices {low} to {high} of an axis of {size}"
            )
    return torch.where(indices < 0, indices + size, indices)
