"""What torch's and NumPy's pickles call, done without calling them: descriptions of tensors."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from rethined_export.checkpoints.errors import DamageError
from rethined_export.checkpoints.inert import Call, Inert, Name
from rethined_export.checkpoints.stored import DTYPES, Block, Stored, contiguous, stored

#: A block by the key of its storage and its size in bytes.
FindBlock = Callable[[str, int], Block]

_STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
    # Of quantised tensors, which are named and not read.
    "QUInt8Storage": torch.uint8,
    "QInt8Storage": torch.int8,
    "QInt32Storage": torch.int32,
}
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES.values()}
_NUMPY_DTYPES = {
    "f8": torch.float64,
    "f4": torch.float32,
    "f2": torch.float16,
    "i8": torch.int64,
    "i4": torch.int32,
    "i2": torch.int16,
    "i1": torch.int8,
    "u1": torch.uint8,
    "b1": torch.bool,
}
_ARRAYS = {Name(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
_FLAT_ARRAYS = {Name(f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")}


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """Elements of one type in a block, from a byte on."""

    block: Block
    dtype: torch.dtype
    start: int = 0


class Storages:
    """The storages that one pickle names, each with one block."""

    def __init__(self, find: FindBlock) -> None:
        self._find = find
        self.blocks: dict[str, Block] = {}
        self.item_bytes: dict[str, int] = {}

    def persistent(self, identifier: object) -> object:
        """What a pickle of torch's leaves to its reader: storages, and sources of classes.

        Raises:
            DamageError: neither of these.
        """
        if isinstance(identifier, tuple) and identifier:
            if identifier[0] == "module" and len(identifier) > 1:
                return identifier[1]
            if identifier[0] == "storage" and len(identifier) in (5, 6):
                return self._storage(*identifier[1:])
        raise DamageError("its pickle refers to something outside itself")

    def _storage(
        self, kind: object, key: object, _: object, count: object, view: object = None
    ) -> Storage:
        dtype = _STORAGE_DTYPES.get(kind.name) if isinstance(kind, Name) else None
        if dtype is None or not isinstance(key, (str, int)) or type(count) is not int:
            raise DamageError("its pickle describes a storage of an unknown type")
        name = str(key) if isinstance(key, str) or key.bit_length() <= 64 else ""
        size = count * dtype.itemsize
        if name not in self.blocks:
            self.blocks[name] = self._find(name, size)
            self.item_bytes[name] = dtype.itemsize
        if self.blocks[name].size != size:
            raise DamageError("its pickle gives a storage two sizes")
        first = view[1] if isinstance(view, tuple) and len(view) == 3 else 0
        if type(first) is not int:
            raise DamageError("its pickle views a storage from nowhere")
        return Storage(self.blocks[name], dtype, first * dtype.itemsize)


def torch_calls(load_bytes: Call | None = None) -> dict[Name, Call]:
    """The calls torch's pickles make to describe tensors, by name.

    Args:
        load_bytes: what to do with a storage pickled as bytes of its own.
    """
    calls: dict[Name, Call] = {
        Name("torch._utils", "_rebuild_tensor"): _tensor,
        Name("torch._utils", "_rebuild_tensor_v2"): _tensor,
        Name("torch._utils", "_rebuild_tensor_v3"): _tensor_v3,
        Name("torch._utils", "_rebuild_parameter"): _first,
        Name("torch._utils", "_rebuild_parameter_with_state"): _first,
        Name("torch._tensor", "_rebuild_from_type"): _of_type,
        Name("torch._tensor", "_rebuild_from_type_v2"): _of_type,
        Name("torch", "Size"): _first,
    }
    if load_bytes:
        calls[Name("torch.storage", "_load_from_bytes")] = load_bytes
    return calls


def _first(args: tuple[object, ...]) -> object:
    if not args:
        raise DamageError("its pickle makes a parameter of nothing")
    return args[0]


def _tensor(args: tuple[object, ...]) -> Stored:
    """From a storage, an offset, sizes and strides."""
    if len(args) < 4 or not isinstance(args[0], Storage):
        raise DamageError("its pickle makes a tensor without a storage")
    return _view(args[0], args[0].dtype, args[1], args[2], args[3])


def _tensor_v3(args: tuple[object, ...]) -> Stored:
    """The same, with a type that storages have no name for."""
    if len(args) < 7 or not isinstance(args[0], Storage) or not isinstance(args[6], Name):
        raise DamageError("its pickle makes a tensor without a storage or a type")
    dtype = _DTYPES.get(args[6].name)
    if dtype is None:
        raise DamageError(f"its pickle holds a tensor of type {args[6]}")
    return _view(args[0], dtype, args[1], args[2], args[3])


def _view(
    storage: Storage, dtype: torch.dtype, offset: object, shape: object, stride: object
) -> Stored:
    first, rest = divmod(storage.start, dtype.itemsize)
    if type(offset) is not int or rest:
        raise DamageError("its pickle has a tensor that starts nowhere")
    return stored(storage.block, dtype, shape, stride, first + offset)


def _of_type(args: tuple[object, ...]) -> object:
    """A tensor of a subclass (buffers, parameters): the function inside is called instead."""
    if len(args) >= 3 and isinstance(args[0], Name) and isinstance(args[2], tuple):
        function = _INNER.get(args[0].name)
        if function and args[0].module == "torch._utils":
            return function(args[2])
    return Inert(Name("torch._tensor", "_rebuild_from_type_v2"), args)


_INNER: dict[str, Call] = {
    "_rebuild_tensor": _tensor,
    "_rebuild_tensor_v2": _tensor,
    "_rebuild_tensor_v3": _tensor_v3,
    "_rebuild_parameter": _first,
}


def as_stored(value: object) -> Stored | None:
    """The tensor a value is: one of torch's, or a NumPy array of a plain type; else None.

    Raises:
        DamageError: an array whose shape does not fit its bytes.
    """
    if isinstance(value, Stored):
        return value
    if not isinstance(value, Inert) or not isinstance(value.kind, Name):
        return None
    if value.kind in _ARRAYS and value.states:
        state = value.states[-1]
        if isinstance(state, tuple) and len(state) == 5:
            _, shape, dtype, fortran, data = state
            return _array(data, dtype, shape, fortran is True)
    if value.kind in _FLAT_ARRAYS and isinstance(value.args, tuple) and len(value.args) == 4:
        data, dtype, shape, order = value.args
        return _array(data, dtype, shape, isinstance(order, str) and order == "F")
    return None


def _array(data: object, dtype: object, shape: object, fortran: bool) -> Stored | None:
    kind = _numpy_dtype(dtype)
    if isinstance(data, str):  # as Python 2 pickled bytes
        data = data.encode("latin-1", "replace")
    if kind is None or not isinstance(data, (bytes, bytearray)) or not isinstance(shape, tuple):
        return None
    content = data
    block = Block(len(content), lambda: bytearray(content))
    straight = stored(block, kind, shape)
    if not fortran:
        return straight
    reverse = contiguous(straight.shape[::-1])[::-1]
    return stored(block, kind, shape, reverse)


def _numpy_dtype(dtype: object) -> torch.dtype | None:
    """A NumPy type by its code; None where bytes are swapped or it is not plain."""
    if not isinstance(dtype, Inert) or not isinstance(dtype.args, tuple) or not dtype.args:
        return None
    state = dtype.states[-1] if dtype.states else None
    order = state[1] if isinstance(state, tuple) and len(state) > 1 else "|"
    code = dtype.args[0]
    if not isinstance(code, str) or not isinstance(order, str) or order == ">":
        return None
    return _NUMPY_DTYPES.get(code)
