"""librethined from Python: a photo's way to the network and back, in place and without copies.

``rethined.h`` beside this file documents every function; here they take arrays. The library is
compiled when the package is installed.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rethined_export.converters.types import Array
from rethined_export.errors import UserError

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int32]

LOW_RESOLUTION, PATCH, GRID = 512, 8, 64
TOKENS = GRID * GRID
#: File name of the compiled library, on every system.
LIBRARY = "librethined.so"
#: Rows of the low image, and tokens, that a thread takes at once: a third of a millisecond's work.
_ROWS_AT_ONCE, _TOKENS_AT_ONCE = 16, 16


class Status(IntEnum):
    """What a call says; ``rethined.h`` tells more."""

    OK = 0
    NULL = 1
    FORMAT = 2
    SIZE = 3
    STRIDE = 4
    ALIGNMENT = 5
    OUTSIDE = 6
    SCRATCH = 7
    OVERLAP = 8
    INDEX = 9
    NOT_FINITE = 10
    NOTHING_KNOWN = 11


class Order(IntEnum):
    """Order of a pixel's channels."""

    RGB = 0
    RGBA = 1
    BGR = 2
    BGRA = 3


class Layout(IntEnum):
    """Where an image in memory has its colours: before its rows, or in each pixel."""

    PLANES = 0
    PIXELS = 1


class NativeError(ValueError):
    """The library refused a call.

    Attributes:
        status: why.
    """

    def __init__(self, status: Status) -> None:
        super().__init__(f"librethined: {message(status)}")
        self.status = status


class NothingKnownError(UserError, ValueError):
    """The hole touches every patch, so that there is none to copy from."""


class _SquareStruct(ctypes.Structure):
    _fields_ = (
        ("pixels", ctypes.c_void_p),
        ("hole", ctypes.c_void_p),
        ("stride", ctypes.c_ssize_t),
        ("hole_stride", ctypes.c_ssize_t),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("order", ctypes.c_int32),
        ("depth", ctypes.c_int32),
        ("scale", ctypes.c_int32),
        ("top", ctypes.c_int32),
        ("left", ctypes.c_int32),
    )


class _ChoiceStruct(ctypes.Structure):
    _fields_ = (
        ("low", ctypes.c_void_p),
        ("flags", ctypes.c_void_p),
        ("indices", ctypes.c_void_p),
        ("scores", ctypes.c_void_p),
        ("k", ctypes.c_int32),
    )


_INT, _ADDRESS, _SIZE = ctypes.c_int32, ctypes.c_void_p, ctypes.c_size_t
_SQUARE, _CHOICE = ctypes.POINTER(_SquareStruct), ctypes.POINTER(_ChoiceStruct)
_COUNT = ctypes.POINTER(_INT)
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "message": (ctypes.c_char_p, (_INT,)),
    "shrink_scratch": (_SIZE, ()),
    "shrink": (_INT, (_SQUARE, _INT, _INT, _INT, _ADDRESS, _ADDRESS, _ADDRESS, _SIZE)),
    "list": (_INT, (_ADDRESS, _ADDRESS, _ADDRESS, _COUNT)),
    "part": (_INT, (_ADDRESS, _INT, _INT, _INT, _ADDRESS, _ADDRESS, _ADDRESS, _COUNT)),
    "compose": (_INT, (_ADDRESS, _INT, _ADDRESS)),
    "keep": (_INT, (_ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS, _INT, _CHOICE)),
    "fill_scratch": (_SIZE, (_INT,)),
    "fill": (_INT, (_SQUARE, _CHOICE, _ADDRESS, _INT, _INT, _INT, _ADDRESS, _SIZE)),
}
_DEPTHS = {np.dtype(np.uint8): 0, np.dtype(np.uint16): 1, np.dtype(np.float32): 2}


class Square:
    """A photo under the square of the token grid, reflected where it does not reach.

    Args:
        photo: ``[H, W, 3 or 4]``, uint8, uint16 or float32 (1 = white); filled in place. Its
            pixels follow each other in a row; rows may lie any distance apart.
        hole: bool or uint8 ``[H, W]``, anything but 0 = hole; rows as the photo's.
        scale: s, 1 to 16.
        top, left: where the square begins in the photo, in its pixels; negative: outside it.
        order: of the photo's channels; a fourth channel is left as it is.

    Raises:
        ValueError: the arrays are not as said.
    """

    def __init__(
        self,
        photo: npt.NDArray[Any],
        hole: npt.NDArray[np.bool_] | Flags,
        scale: int,
        top: int = 0,
        left: int = 0,
        order: Order | None = None,
    ) -> None:
        if order is None:
            order = Order.RGBA if photo.ndim == 3 and photo.shape[2] == 4 else Order.RGB
        _check(photo, hole, 4 if order in (Order.RGBA, Order.BGRA) else 3)
        self.photo, self.hole, self.scale = photo, hole, scale
        self.top, self.left = top, left
        height, width = hole.shape
        self._struct = _SquareStruct(
            photo.ctypes.data, hole.ctypes.data, photo.strides[0], hole.strides[0], height, width,
            order, _DEPTHS[photo.dtype], scale, top, left,
        )  # fmt: skip

    def shrink(self, layout: Layout = Layout.PLANES, threads: int = 1) -> tuple[Floats, Floats]:
        """x_LR before its hole is cut, ``[1, 3, 512, 512]``, and m_LR ``[1, 1, 512, 512]``.

        A low-resolution pixel is the mean of its s × s pixels, and hole where any of them is.

        Args:
            layout: of the image in memory; its shape is the same in both.

        Raises:
            UserError: a known pixel of a float photo is NaN or infinite.
            NativeError: the square does not touch the photo, or its scale is not 1 to 16.
        """
        planes = layout == Layout.PLANES
        image = np.empty((3, 512, 512) if planes else (512, 512, 3), np.float32)
        mask = np.empty((LOW_RESOLUTION, LOW_RESOLUTION), np.float32)

        def part(start: int, end: int, scratch: Flags) -> int:
            return _call("shrink", self._struct, start, end, layout, image, mask, scratch)

        status = _shared(part, LOW_RESOLUTION, _ROWS_AT_ONCE, _scratch_bytes("shrink"), threads)
        if status == Status.NOT_FINITE:
            raise UserError("a known pixel of the photo is NaN or infinite; repair it, or mark it")
        _raise_for(status)
        return (image if planes else image.transpose(2, 0, 1))[None], mask[None, None]

    def fill(self, choice: Choice, threads: int = 1) -> None:
        """Make the full-resolution patches that were chosen, and paste them into the hole."""
        tokens, struct = choice.tokens, choice.struct()

        def part(start: int, end: int, scratch: Flags) -> int:
            return _call("fill", self._struct, struct, tokens, len(tokens), start, end, scratch)

        room = _scratch_bytes("fill", self.scale)
        _raise_for(_shared(part, len(tokens), _TOKENS_AT_ONCE, room, threads))


class Choice:
    """What a pair's programs found, for every token; rows of known tokens carry no meaning.

    Args:
        mask: m_LR, ``[1, 1, 512, 512]``. k: source patches mixed into one.

    Attributes:
        tokens: of the hole, ascending ``[n]``.
        flags: 1 = in the hole ``[4096]``.
        low: x̂_LR ``[512, 512, 3]``.
        indices, scores: ``[4096, k]``.

    Raises:
        NothingKnownError: the hole touches every patch.
    """

    def __init__(self, mask: Floats, k: int) -> None:
        self.k = k
        self.flags = np.empty(TOKENS, np.uint8)
        self.low = np.empty((LOW_RESOLUTION, LOW_RESOLUTION, 3), np.float32)
        self.indices = np.zeros((TOKENS, k), np.int32)
        self.scores = np.zeros((TOKENS, k), np.float32)
        listed, count = np.empty(TOKENS, np.int32), _INT()
        status = _call("list", _ready(mask, np.float32), self.flags, listed, count)
        if status == Status.NOTHING_KNOWN:
            raise NothingKnownError(f"{message(status)}; use a smaller hole")
        _raise_for(status)
        self.tokens = listed[: count.value]

    def struct(self) -> ctypes.Structure:
        """The same for the library; valid while this object lives."""
        arrays = (self.low, self.flags, self.indices, self.scores)
        return _ChoiceStruct(*(array.ctypes.data for array in arrays), self.k)

    def compose(self, composite: Floats) -> None:
        """Start x̂_LR from the low program's ``composite`` ``[1, 3, 512, 512]``, in any layout."""
        pixels = composite[0].transpose(1, 2, 0)
        layout = Layout.PIXELS if pixels.flags.c_contiguous else Layout.PLANES
        given = pixels if layout == Layout.PIXELS else composite
        _raise_for(_call("compose", _ready(given, np.float32), layout, self.low))

    def keep(self, made: dict[str, Array], part: Part) -> None:
        """Keep what one run of the choosing program gave: ``low``, ``indices`` and ``scores``.

        Raises:
            NativeError: an index is no token's, or a number is not finite; nothing is kept.
        """
        given = [
            _ready(made[name], kind)
            for name, kind in (("low", np.float32), ("indices", np.int32), ("scores", np.float32))
        ]
        places = len(part.listed)
        if [array.size for array in given] != [places * 192, places * self.k, places * self.k]:
            shapes = ", ".join(
                f"{name} {made[name].shape}" for name in ("low", "indices", "scores")
            )
            raise ValueError(
                f"the choosing program gave {shapes} for {places} tokens and k = {self.k}"
            )
        _raise_for(_call("keep", *given, part.listed, part.kept, places, self.struct()))


@dataclass(frozen=True)
class Part:
    """The inputs of one run of a choosing program.

    Attributes:
        listed: ``tokens`` ``[K]``.
        rows: ``rows`` ``[4096]``; None without a coherence layer.
        kept: which of ``listed`` this run makes exactly, ``[K]``.
    """

    listed: Indices
    rows: Indices | None
    kept: Flags


def parts(tokens: Indices, budget: int, coherence: bool) -> Iterator[Part]:
    """Runs of a choosing program of ``budget`` tokens that together make every hole token exactly.

    Args:
        tokens: ascending, at least one. coherence: the program has a coherence layer.

    Raises:
        NativeError: a budget, or tokens, that cannot be.
    """
    following = _INT(0)
    while following.value < len(tokens):
        part = Part(
            np.empty(budget, np.int32),
            np.empty(TOKENS, np.int32) if coherence else None,
            np.empty(budget, np.uint8),
        )
        given = (tokens, len(tokens), following.value, budget)
        _raise_for(_call("part", *given, part.listed, part.rows, part.kept, following))
        yield part


def depth(photo: npt.NDArray[Any]) -> int:
    """The library's number for a photo's type: uint8, uint16 or float32."""
    return _DEPTHS[photo.dtype]


def message(status: int) -> str:
    """What a status means."""
    text: bytes = _library().rethined_message(status)
    return text.decode()


def library_path() -> Path:
    """Where the compiled library lies.

    Raises:
        UserError: it is not there.
    """
    path = Path(__file__).with_name(LIBRARY)
    if not path.exists():
        raise UserError(f"{path} is not there; install the package again, which compiles it")
    return path


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(library_path()))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, f"rethined_{name}")
        function.restype, function.argtypes = result, arguments
    return library


def _call(name: str, *arguments: Any) -> int:
    """Call a function; arrays go as their addresses, the last of a call with its size."""
    given: list[Any] = []
    for argument in arguments:
        given.append(argument.ctypes.data if isinstance(argument, np.ndarray) else argument)
    function = getattr(_library(), f"rethined_{name}")
    if len(given) < len(function.argtypes):
        given.append(arguments[-1].nbytes)
    return int(function(*given))


def _scratch_bytes(name: str, *arguments: int) -> int:
    return int(getattr(_library(), f"rethined_{name}_scratch")(*arguments))


def _raise_for(status: int) -> None:
    if status != Status.OK:
        raise NativeError(Status(status))


def _shared(
    part: Callable[[int, int, Flags], int], length: int, step: int, room: int, threads: int
) -> int:
    """Work through 0..length in steps with some threads; the first status that is not OK."""
    starts = itertools.count(0, step)

    def work() -> int:
        scratch = np.empty(room, np.uint8)
        while (start := next(starts)) < length:
            status = part(start, min(start + step, length), scratch)
            if status != Status.OK:
                return status
        return Status.OK

    if threads == 1:
        return work()
    others = [_pool(threads - 1).submit(work) for _ in range(threads - 1)]
    statuses = [work(), *(other.result() for other in others)]
    return next((status for status in statuses if status != Status.OK), Status.OK)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "rethined")


def _ready(array: Array, kind: type[np.generic]) -> npt.NDArray[Any]:
    """The array itself where its memory is as the library reads it."""
    return np.ascontiguousarray(array, kind)


def _check(photo: npt.NDArray[Any], hole: npt.NDArray[Any], channels: int) -> None:
    if photo.dtype not in _DEPTHS:
        raise ValueError(f"a photo of {photo.dtype}; it must be uint8, uint16 or float32")
    if photo.ndim != 3 or photo.shape[2] != channels:
        raise ValueError(f"a photo {photo.shape}; it must be [H, W, {channels}]")
    if photo.strides[1:] != (channels * photo.itemsize, photo.itemsize):
        raise ValueError("a photo whose pixels do not follow each other; copy it first")
    if not photo.flags.writeable:
        raise ValueError("a photo that is read-only; it is filled in place, so copy it first")
    if hole.shape != photo.shape[:2] or hole.dtype not in (np.bool_, np.uint8):
        raise ValueError(
            f"a hole {hole.dtype} {hole.shape}; it must be bool or uint8 {photo.shape[:2]}"
        )
    if hole.strides[1] != 1:
        raise ValueError("a hole whose pixels do not follow each other; copy it first")
