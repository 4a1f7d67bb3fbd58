"""Tensors that a file holds, described before they are read."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import psutil
import torch
from torch import Tensor

from rethined_export.checkpoints.errors import CheckpointError, DamageError, in_bytes

#: Types of tensors, by the names safetensors has for them.
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
    "C128": torch.complex128,
}
_MAX_RANK = 16
#: Tensors that share or repeat what is stored may take more memory than the file, by this much.
_EXPANSION, _EXPANSION_BYTES = 8, 64 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Bytes of a file, shared by every tensor that views them."""

    size: int
    read: Callable[[], bytearray]


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A tensor of a file: a strided view of elements of one type in a block.

    Offset and strides count elements. Made by :func:`stored`, which checks them.
    """

    block: Block
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of its elements, laid out one after the other."""
        return math.prod(self.shape) * self.dtype.itemsize


def stored(
    block: Block, dtype: torch.dtype, shape: object, stride: object = None, offset: object = 0
) -> Stored:
    """Describe a tensor; without strides it is contiguous.

    Raises:
        DamageError: it would reach outside its block.
    """
    sizes = _whole_numbers(shape)
    strides = contiguous(sizes) if stride is None else _whole_numbers(stride)
    (start,) = _whole_numbers((offset,))
    if len(sizes) != len(strides):
        raise DamageError("a tensor has more sizes than strides, or fewer")
    if math.prod(max(size, 1) for size in sizes) >= 1 << 60:
        raise DamageError("a tensor claims more elements than any memory holds")
    last = start + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
    if 0 not in sizes and (last + 1) * dtype.itemsize > block.size:
        raise DamageError(f"a tensor reaches to element {last} of a storage of {block.size} bytes")
    return Stored(block, dtype, sizes, strides, start)


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a tensor in row-major order."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def _whole_numbers(values: object) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or len(values) > _MAX_RANK:
        raise DamageError("a tensor's sizes or strides are not a short list")
    for value in values:
        if type(value) is not int or not 0 <= value < 1 << 60:
            raise DamageError("a tensor's size, stride or offset is not a whole number")
    return tuple(values)


def stored_bytes(tensors: Iterable[Stored]) -> int:
    """Bytes in the file that these tensors view, each block counted once."""
    return sum({id(tensor.block): tensor.block.size for tensor in tensors}.values())


def load_all(tensors: Mapping[str, Stored], file_bytes: int) -> dict[str, Tensor]:
    """Read tensors into memory; those that share storage in the file share it afterwards.

    Args:
        file_bytes: size of the file they come from.

    Raises:
        DamageError: they claim to be far larger than what is stored, or cannot be read.
        CheckpointError: larger than the free memory.
    """
    needed = stored_bytes(tensors.values())
    claimed = sum(tensor.nbytes for tensor in tensors.values())
    if max(needed, claimed) > _EXPANSION * file_bytes + _EXPANSION_BYTES:
        raise DamageError(
            f"{in_bytes(file_bytes)} claim to hold tensors of {in_bytes(max(needed, claimed))}"
        )
    if needed > (free := available_bytes()):
        raise CheckpointError(
            f"its tensors take {in_bytes(needed)} and {in_bytes(free)} of memory are free; "
            "close other programs, or use a machine with more"
        )
    blocks: dict[int, Tensor] = {}
    return {name: _load(tensor, blocks) for name, tensor in tensors.items()}


def available_bytes() -> int:
    """Memory a program can still take without swapping."""
    return int(psutil.virtual_memory().available)


def _load(tensor: Stored, blocks: dict[int, Tensor]) -> Tensor:
    if 0 in tensor.shape:
        return torch.empty(tensor.shape, dtype=tensor.dtype)
    key = id(tensor.block)
    if key not in blocks:
        blocks[key] = torch.frombuffer(tensor.block.read(), dtype=torch.uint8)
    whole = len(blocks[key]) // tensor.dtype.itemsize * tensor.dtype.itemsize
    elements = blocks[key][:whole].view(tensor.dtype)
    return elements.as_strided(tensor.shape, tensor.stride, tensor.offset)
