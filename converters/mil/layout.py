"""Operators that move elements without changing them."""

import torch
from torch import Tensor
from torch.nn import functional as F

from rethined_export.converters.mil.registry import Call, operator


@operator("reshape")
def reshape(call: Call) -> Tensor:
    """``(x, shape)``: -1 is inferred; 0 copies a size of x, counted from the right."""
    x, shape = call.tensor("x"), call.integers("shape")
    # From iOS 17 the ranks may differ, and a 0 beyond x is 1; before, the two readings agree.
    sizes = [1] * len(shape) + list(x.shape)
    inherited = sizes[len(sizes) - len(shape) :] if shape else []
    return x.reshape([size or own for size, own in zip(shape, inherited, strict=True)])


@operator("transpose")
def transpose(call: Call) -> Tensor:
    """``(x, perm)``."""
    return call.tensor("x").permute(call.integers("perm"))


@operator("expand_dims")
def expand_dims(call: Call) -> Tensor:
    """``(x, axes)``: sizes of 1 inserted; axes count in the result."""
    x, axes = call.tensor("x"), call.integers("axes")
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


@operator("squeeze")
def squeeze(call: Call) -> Tensor:
    """``(x, axes)``: sizes of 1 removed, other axes left; all of them without ``axes``."""
    x = call.tensor("x")
    return x.squeeze(call.integers("axes", list(range(x.dim()))))


@operator("concat")
def concat(call: Call) -> Tensor:
    """``(values, axis, interleave)``: end to end, or element by element in turn."""
    values, axis = call.tensors("values"), call.integer("axis")
    interleave = call.flag("interleave")
    rank = values[0].dim()
    if rank == 0:
        return torch.stack(values)
    axis %= rank
    if interleave:
        return torch.stack(values, axis + 1).flatten(axis, axis + 1)
    return torch.cat(values, axis)


@operator("stack")
def stack(call: Call) -> Tensor:
    """``(values, axis)``."""
    return torch.stack(call.tensors("values"), call.integer("axis"))


@operator("split")
def split(call: Call) -> tuple[Tensor, ...]:
    """``(x, axis, num_splits, split_sizes)``: equal parts, or the sizes given."""
    x, axis = call.tensor("x"), call.integer("axis")
    sizes = call.integers("split_sizes", [])
    count = call.integer("num_splits") if call.given("num_splits") else len(sizes)
    sizes = sizes or [x.shape[axis] // count] * count
    if len(sizes) != count:
        call.unsupported(f"num_splits {count} with split_sizes {sizes}")
    return torch.split(x, sizes, axis)


@operator("tile")
def tile(call: Call) -> Tensor:
    """``(x, reps)``: copies along each axis."""
    return call.tensor("x").repeat(call.integers("reps"))


@operator("reverse")
def reverse(call: Call) -> Tensor:
    """``(x, axes)``: all axes without ``axes``."""
    x = call.tensor("x")
    return x.flip(call.integers("axes", list(range(x.dim()))))


@operator("slice_by_index")
def slice_by_index(call: Call) -> Tensor:
    """``(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)``: NumPy's slicing.

    A mask of True takes the whole side; ``squeeze_mask`` takes the element at ``begin`` alone.
    """
    x, none = call.tensor("x"), [0] * call.tensor("x").dim()
    begins, ends = call.integers("begin"), call.integers("end")
    strides = call.integers("stride", [1] * x.dim())
    open_begin, open_end = call.integers("begin_mask", none), call.integers("end_mask", none)
    single = call.integers("squeeze_mask", none)
    for axis in reversed(range(x.dim())):
        size, stride = x.shape[axis], strides[axis]
        begin = None if open_begin[axis] else begins[axis]
        end = None if open_end[axis] else ends[axis]
        if single[axis]:
            x = x.select(axis, begin or 0)
        elif stride > 0:
            x = x[(slice(None),) * axis + (slice(begin, end, stride),)]
        else:
            if open_begin[axis]:
                # The documentation says 0, coremltools' own inference says the last element.
                call.unsupported("begin_mask with a negative stride")
            chosen = range(size)[slice(begin, end, stride)]
            x = x.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64))
    return x


@operator("slice_by_size")
def slice_by_size(call: Call) -> Tensor:
    """``(x, begin, size)``: a size of -1 takes the rest."""
    x = call.tensor("x")
    pairs = zip(call.integers("begin"), call.integers("size"), strict=True)
    for axis, (begin, size) in enumerate(pairs):
        begin = begin + x.shape[axis] if begin < 0 else begin
        x = x.narrow(axis, begin, x.shape[axis] - begin if size == -1 else size)
    return x


@operator("crop")
def crop(call: Call) -> Tensor:
    """``(x [*, H, W], crop_height, crop_width)``: elements cut at both ends."""
    x = call.tensor("x")
    for axis, key in ((-2, "crop_height"), (-1, "crop_width")):
        before, after = call.integers(key)
        x = x.narrow(axis, before, x.shape[axis] - before - after)
    return x


@operator("pad")
def pad(call: Call) -> Tensor:
    """``(x, pad, mode, constant_val)``: (before, after) of the last axes, in order.

    ``reflect`` leaves the edge out of the mirror image; ``replicate`` repeats it.
    """
    x, sides, mode = call.tensor("x"), call.integers("pad"), call.text("mode")
    value = call.number("constant_val")
    pairs = list(zip(sides[::2], sides[1::2], strict=True))
    if mode == "constant":
        return F.pad(x, [side for pair in reversed(pairs) for side in pair], value=value)
    if mode not in ("reflect", "replicate"):
        call.unsupported(f"mode {mode}")
    for axis, (before, after) in enumerate(pairs, start=x.dim() - len(pairs)):
        if before or after:
            x = x.index_select(axis, _border(call, mode, x.shape[axis], before, after))
    return x


def _border(call: Call, mode: str, size: int, before: int, after: int) -> Tensor:
    """Positions to read along one axis, int64 ``[before + size + after]``."""
    limit = size - 1 if mode == "reflect" else size
    if max(before, after) > limit:
        call.unsupported(f"{mode} of {before} and {after} on an axis of {size}")
    positions = torch.arange(-before, size + after)
    if mode == "replicate":
        return positions.clamp(0, size - 1)
    return (size - 1) - ((size - 1) - positions.abs()).abs()


@operator("pixel_shuffle")
def pixel_shuffle(call: Call) -> Tensor:
    """``(x [n, C·f², H, W], upscale_factor f) -> [n, C, H·f, W·f]``."""
    return F.pixel_shuffle(call.tensor("x"), call.integer("upscale_factor"))


@operator("pixel_unshuffle")
def pixel_unshuffle(call: Call) -> Tensor:
    """``(x [n, C, H·f, W·f], downscale_factor f) -> [n, C·f², H, W]``."""
    return F.pixel_unshuffle(call.tensor("x"), call.integer("downscale_factor"))


# Core ML documents no channel order for these two; coremltools gives them TensorFlow's operators
# of the same names unchanged, where the block's offset varies slower than the channel.


@operator("space_to_depth")
def space_to_depth(call: Call) -> Tensor:
    """``(x [n, C, H·b, W·b], block_size b) -> [n, b²·C, H, W]``."""
    x, block = call.tensor("x"), call.integer("block_size")
    n, channels, height, width = x.shape
    x = x.reshape(n, channels, height // block, block, width // block, block)
    return x.permute(0, 3, 5, 1, 2, 4).reshape(n, -1, height // block, width // block)


@operator("depth_to_space")
def depth_to_space(call: Call) -> Tensor:
    """``(x [n, b²·C, H, W], block_size b) -> [n, C, H·b, W·b]``."""
    x, block = call.tensor("x"), call.integer("block_size")
    n, channels, height, width = x.shape
    x = x.reshape(n, block, block, channels // block**2, height, width)
    return x.permute(0, 3, 4, 1, 5, 2).reshape(n, -1, height * block, width * block)


@operator("shape")
def shape(call: Call) -> Tensor:
    """``(x) -> [rank]``."""
    return torch.tensor(call.tensor("x").shape, dtype=torch.int32)


@operator("fill")
def fill(call: Call) -> Tensor:
    """``(shape, value)``."""
    return call.tensor("value").expand(call.integers("shape")).clone()


@operator("fill_like")
def fill_like(call: Call) -> Tensor:
    """``(ref_tensor, value)``: the type is that of ``value``."""
    return call.tensor("value").expand(call.tensor("ref_tensor").shape).clone()
