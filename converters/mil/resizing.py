"""Resampling of images."""

from collections.abc import Callable

import torch
from torch import Tensor

from rethined_export.converters.mil.registry import Call, operator

# Where the outputs lie on the input's grid: (positions 0 … out - 1, size in, size out), as the
# documentation of resize_bilinear defines its sampling modes.
_GRIDS: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "STRICT_ALIGN_CORNERS": lambda i, size, out: i * (size - 1) / max(out - 1, 1),
    "ALIGN_CORNERS": lambda i, size, out: (
        i * (size - 1) / (out - 1) if out > 1 else i + (size - 1) / 2
    ),
    "DEFAULT": lambda i, size, out: i * size / out,
    "OFFSET_CORNERS": lambda i, size, out: (i + 0.5) * max(1, size - 1) / out,
    "UNALIGN_CORNERS": lambda i, size, out: (i + 0.5) * size / out - 0.5,
}


@operator("upsample_bilinear")
def upsample_bilinear(call: Call) -> Tensor:
    """``(x [*, H, W], scale_factor_height, scale_factor_width, align_corners,
    half_pixel_centers) -> [*, floor(H·s), floor(W·s)]``; the scale is recomputed from the sizes."""
    align = call.flag("align_corners")
    centres = not align
    if call.given("half_pixel_centers"):
        centres = call.flag("half_pixel_centers")
    if align and centres:
        call.unsupported("align_corners with half_pixel_centers")
    mode = "STRICT_ALIGN_CORNERS" if align else "UNALIGN_CORNERS" if centres else "DEFAULT"
    return _linear(call.tensor("x"), _scaled_size(call), mode)


@operator("resize_bilinear")
def resize_bilinear(call: Call) -> Tensor:
    """``(x [*, H, W], target_size_height, target_size_width, sampling_mode)``."""
    size = [call.integer("target_size_height"), call.integer("target_size_width")]
    return _linear(call.tensor("x"), size, _mode(call))


@operator("upsample_nearest_neighbor")
def upsample_nearest_neighbor(call: Call) -> Tensor:
    """``(x [*, H, W], scale_factor_height, scale_factor_width)``; whole factors only."""
    return _nearest(call, call.tensor("x"), _scaled_size(call))


@operator("resize_nearest_neighbor")
def resize_nearest_neighbor(call: Call) -> Tensor:
    """``(x [*, H, W], target_size_height, target_size_width)``; whole factors only."""
    size = [call.integer("target_size_height"), call.integer("target_size_width")]
    return _nearest(call, call.tensor("x"), size)


@operator("resize")
def resize(call: Call) -> Tensor:
    """``(x, shape, resized_dims, interpolation_mode, sampling_mode)``: the last ``resized_dims``
    sizes of ``shape``, where 0 keeps that of x."""
    x, count = call.tensor("x"), call.integer("resized_dims")
    shape = call.integers("shape")
    wanted = shape[len(shape) - count :]
    size = [new or old for new, old in zip(wanted, x.shape[x.dim() - count :], strict=True)]
    mode, interpolation = _mode(call), call.text("interpolation_mode")
    if interpolation == "LINEAR":
        return _linear(x, size, mode)
    # The one mode in which rounding positions and cutting them read the same pixels.
    if interpolation != "NEAREST_NEIGHBOR" or mode != "UNALIGN_CORNERS":
        call.unsupported(f"interpolation_mode {interpolation} with sampling_mode {mode}")
    return _nearest(call, x, size)


def _mode(call: Call) -> str:
    mode = call.text("sampling_mode")
    return mode if mode in _GRIDS else call.unsupported(f"sampling_mode {mode}")


def _scaled_size(call: Call) -> list[int]:
    height, width = call.tensor("x").shape[-2:]
    # In float32, as coremltools infers the declared shape: 0.7 · 10 is 7 there, less in float64.
    return [
        int(height * call.tensor("scale_factor_height")),
        int(width * call.tensor("scale_factor_width")),
    ]


def _linear(x: Tensor, sizes: list[int], mode: str) -> Tensor:
    """Linear interpolation along the last axes, one after the other."""
    for axis, out in enumerate(sizes, start=x.dim() - len(sizes)):
        size = x.shape[axis]
        # float64: a float32 position of a few thousand leaves few digits for the weight.
        grid = _GRIDS[mode](torch.arange(out, dtype=torch.float64), size, out).clamp(0, size - 1)
        low = grid.floor().to(torch.int64)
        high = (low + 1).clamp(max=size - 1)
        weight = (grid - low).to(x.dtype).reshape([-1] + [1] * (x.dim() - 1 - axis))
        x = torch.lerp(x.index_select(axis, low), x.index_select(axis, high), weight)
    return x


def _nearest(call: Call, x: Tensor, sizes: list[int]) -> Tensor:
    """Repetition along the last axes; which pixel other factors read is not documented."""
    for axis, out in enumerate(sizes, start=x.dim() - len(sizes)):
        size = x.shape[axis]
        if out % size:
            call.unsupported(f"nearest neighbour from {size} to {out}")
        if out != size:
            x = x.repeat_interleave(out // size, axis)
    return x
