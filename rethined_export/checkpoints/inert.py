"""Read a pickle without running it: nothing is imported, called or given an attribute.

Python's own unpickler cannot be tamed by overriding ``find_class`` alone. It hashes whatever
stands as a key (nested tuples overflow the stack or take for ever), lets ``BUILD`` write into any
object it was handed, and reserves memory for sizes a few bytes claim. This is the same stack
machine with values that are only ever recorded. Opcodes are split by :mod:`pickletools`.

Work and memory are linear in the bytes read, by at most some hundred bytes for each.
"""

import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from rethined_export.checkpoints.errors import DamageError, shown

#: No opcode's line (a name, a number in digits) is as long.
_LINE = 1 << 16
#: Keys of plain types up to this size are kept as they are; others are told apart by identity.
_KEY_LENGTH, _KEY_BITS = 4096, 64
#: Every class puts its state into an object once.
_MOST_STATES = 4


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function the pickle names; never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return shown(f"{self.module}.{self.name}")


@dataclass(slots=True, eq=False, repr=False)
class Inert:
    """An object the pickle would have made by calling something.

    Attributes:
        kind: what would have been called, often a :class:`Name`.
        args: what it would have been called with.
        states: what would have been put into it, in order.
        entries: what would have been stored in it by key.
    """

    kind: object
    args: object
    states: list[object] = field(default_factory=list)
    entries: dict[object, object] = field(default_factory=dict)

    def state(self) -> dict[object, object]:
        """Its attributes, those of ``__slots__`` included, as the pickle gives them."""
        found: dict[object, object] = {}
        for part in self._parts():
            found.update(part)
        return found

    def attribute(self, name: str) -> object:
        """One of its attributes, or None."""
        return next((part[name] for part in reversed(self._parts()) if name in part), None)

    def _parts(self) -> list[dict[object, object]]:
        parts: list[object] = [self._persistent_state()]
        for state in self.states:
            parts.extend(state[:2] if isinstance(state, tuple) else [state])
        return [part for part in parts if isinstance(part, dict)]

    def _persistent_state(self) -> object:
        """The state of an object pickled with its class's source, as StyleGAN's tools do."""
        if self.kind != _PERSISTENT or not (isinstance(self.args, tuple) and self.args):
            return None
        meta = self.args[0]
        return meta.entries.get("state") if isinstance(meta, Inert) else None


_PERSISTENT = Name("torch_utils.persistence", "_reconstruct_persistent_obj")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Key:
    """Stands for a dictionary's key that is not plain."""

    value: object


#: What a call that is known gives, from its arguments.
Call = Callable[[tuple[object, ...]], object]


def load(
    stream: BinaryIO,
    size: int,
    calls: Mapping[Name, Call],
    persistent: Callable[[object], object],
) -> object:
    """Read one pickle, from where the stream stands to just behind its STOP.

    Args:
        size: of the whole stream in bytes; nothing is read behind it.
        calls: what to compute instead of calling these; any other call is recorded.
        persistent: what an identifier that the pickle leaves to its reader stands for.

    Returns:
        Plain values, :class:`Name`, :class:`Inert`, and what ``calls`` and ``persistent`` give.

    Raises:
        DamageError: not a whole pickle, or one that plays tricks.
    """
    machine = _Machine(calls, persistent)
    try:
        for opcode, argument, _ in pickletools.genops(_Tape(stream, size)):  # type: ignore[arg-type]
            machine.step(opcode.name, argument)
    except (ValueError, IndexError, KeyError, OverflowError, struct.error, MemoryError) as error:
        raise DamageError(f"its pickle cannot be read: {error}") from error
    return machine.result


class _Tape:
    """A file whose reads ask for no more than is there, whatever a length in it says."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size = stream, size
        self.tell = stream.tell

    def read(self, count: int) -> bytes:
        if count > self._size - self.tell():
            raise DamageError("its pickle ends early")
        return self._stream.read(count)

    def readline(self) -> bytes:
        return self._stream.readline(_LINE)


class _Machine:
    """The pickle's stack, memo and marks."""

    def __init__(self, calls: Mapping[Name, Call], persistent: Callable[[object], object]) -> None:
        self._calls, self._persistent = calls, persistent
        self._stack: list[object] = []
        self._marked: list[list[object]] = []
        self._memo: dict[int, object] = {}
        self._encoded: dict[int, tuple[str, bytes]] = {}
        self._allowance = 0
        self.result: object = None

    def step(self, opcode: str, argument: object) -> None:
        """Do what one opcode says."""
        self._allowance += 1
        if opcode in _PUSHES:
            self._stack.append(argument)
        elif opcode in _CONSTANTS:
            self._stack.append(_CONSTANTS[opcode]())
        elif opcode not in _IGNORED:
            action = _ACTIONS.get(opcode)
            if action is None:
                raise DamageError(f"its pickle uses {opcode}, which no checkpoint does")
            action(self, argument)

    # --- Stack and memo

    def _mark(self, _: object) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[object]:
        items, self._stack = self._stack, self._marked.pop()
        return items

    def _pop(self, _: object) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._since_mark()

    def _pop_mark(self, _: object) -> None:
        self._since_mark()

    def _duplicate(self, _: object) -> None:
        self._stack.append(self._stack[-1])

    def _get(self, argument: object) -> None:
        self._stack.append(self._memo[_number(argument)])

    def _put(self, argument: object) -> None:
        self._memo[_number(argument)] = self._stack[-1]

    def _memoize(self, _: object) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _stop(self, _: object) -> None:
        self.result = self._stack.pop()

    # --- Containers

    def _list(self, _: object) -> None:
        items = self._since_mark()
        self._stack.append(items)

    def _tuple(self, _: object) -> None:
        items = tuple(self._since_mark())
        self._stack.append(items)

    def _short_tuple(self, count: int) -> None:
        if len(self._stack) < count:
            raise DamageError("its pickle takes more than it has")
        self._stack[-count:] = [tuple(self._stack[-count:])]

    def _dict(self, _: object) -> None:
        made: dict[object, object] = {}
        _store(made, self._since_mark())
        self._stack.append(made)

    def _frozenset(self, _: object) -> None:
        self._stack.append(Inert(Name("builtins", "frozenset"), tuple(self._since_mark())))

    def _append(self, _: object) -> None:
        self._extend([self._stack.pop()])

    def _appends(self, _: object) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[object]) -> None:
        """Items of anything but a list can hold no weights that have names: they are dropped."""
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(items)

    def _set_item(self, _: object) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set([key, value])

    def _set_items(self, _: object) -> None:
        self._set(self._since_mark())

    def _set(self, pairs: list[object]) -> None:
        target = self._stack[-1]
        if isinstance(target, Inert):
            target = target.entries
        if not isinstance(target, dict):
            raise DamageError("its pickle stores by key in what is no mapping")
        _store(target, pairs)

    # --- Names and calls

    def _global(self, argument: object) -> None:
        module, _, name = str(argument).partition(" ")
        self._stack.append(Name(module, name))

    def _stack_global(self, _: object) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise DamageError("its pickle names a class by something other than text")
        self._stack.append(Name(module, name))

    def _persistent_text(self, argument: object) -> None:
        self._stack.append(self._persistent(argument))

    def _persistent_object(self, _: object) -> None:
        self._stack.append(self._persistent(self._stack.pop()))

    def _reduce(self, _: object) -> None:
        args, function = self._stack.pop(), self._stack.pop()
        self._stack.append(self._call(function, args))

    def _new_with_names(self, _: object) -> None:
        names, args, kind = self._stack.pop(), self._stack.pop(), self._stack.pop()
        self._stack.append(Inert(kind, args, [names]))

    def _instance(self, argument: object) -> None:
        args = tuple(self._since_mark())
        module, _, name = str(argument).partition(" ")
        self._stack.append(self._call(Name(module, name), args))

    def _object(self, _: object) -> None:
        kind, *args = self._since_mark()
        self._stack.append(self._call(kind, tuple(args)))

    def _call(self, function: object, args: object) -> object:
        if not (isinstance(function, Name) and isinstance(args, tuple)):
            return Inert(function, args)
        if function in _MAPPINGS:
            return self._mapping(args)
        if function == Name("_codecs", "encode"):
            return self._encode(args)
        known = self._calls.get(function)
        return known(args) if known else Inert(function, args)

    def _mapping(self, args: tuple[object, ...]) -> dict[object, object]:
        """A mapping made from pairs; copies are paid for by opcodes, lest they be endless."""
        made: dict[object, object] = {}
        pairs = args[0] if args and isinstance(args[0], list) else []
        self._allowance -= len(pairs)
        if self._allowance < 0:
            raise DamageError("its pickle copies without end")
        for pair in pairs:
            if isinstance(pair, (list, tuple)) and len(pair) == 2:
                made[_key(pair[0])] = pair[1]
        return made

    def _encode(self, args: tuple[object, ...]) -> object:
        """Bytes, as pickles before protocol 3 hold them: as Latin text; one copy of each."""
        text = args[0] if args else None
        if not isinstance(text, str):
            raise DamageError("its pickle encodes what is no text")
        if id(text) not in self._encoded:
            self._encoded[id(text)] = text, text.encode("latin-1")
        return self._encoded[id(text)][1]

    def _build(self, _: object) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, Inert) and len(target.states) < _MOST_STATES:
            target.states.append(state)


def _number(argument: object) -> int:
    return int(argument)  # type: ignore[call-overload,no-any-return]


def _store(target: dict[object, object], pairs: list[object]) -> None:
    if len(pairs) % 2:
        raise DamageError("its pickle has a key without a value")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        target[_key(key)] = value


def _key(key: object) -> object:
    """The key itself where hashing and comparing it is cheap and safe."""
    if isinstance(key, (str, bytes)) and len(key) <= _KEY_LENGTH:
        return key
    if isinstance(key, int) and key.bit_length() <= _KEY_BITS:
        return key
    return key if key is None or isinstance(key, float) else Key(key)


_MAPPINGS = frozenset(
    Name(module, name)
    for module, names in {
        "collections": ("OrderedDict", "defaultdict", "Counter"),
        "builtins": ("dict",),
        "__builtin__": ("dict",),
    }.items()
    for name in names
)
_PUSHES = frozenset(
    """
    INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8
    BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    """.split()  # noqa: SIM905 (a list of these would take a line each)
)
_CONSTANTS: dict[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": lambda: Inert(Name("builtins", "set"), ()),
}
_IGNORED = frozenset({"PROTO", "FRAME"})
#: EXT1 to EXT4 and out-of-band buffers are not here: they name what is not in the file.
_ACTIONS: dict[str, Callable[[_Machine, object], None]] = {
    "MARK": _Machine._mark,
    "POP": _Machine._pop,
    "POP_MARK": _Machine._pop_mark,
    "DUP": _Machine._duplicate,
    "GET": _Machine._get,
    "BINGET": _Machine._get,
    "LONG_BINGET": _Machine._get,
    "PUT": _Machine._put,
    "BINPUT": _Machine._put,
    "LONG_BINPUT": _Machine._put,
    "MEMOIZE": _Machine._memoize,
    "STOP": _Machine._stop,
    "LIST": _Machine._list,
    "TUPLE": _Machine._tuple,
    "TUPLE1": lambda machine, _: machine._short_tuple(1),
    "TUPLE2": lambda machine, _: machine._short_tuple(2),
    "TUPLE3": lambda machine, _: machine._short_tuple(3),
    "DICT": _Machine._dict,
    "FROZENSET": _Machine._frozenset,
    "APPEND": _Machine._append,
    "APPENDS": _Machine._appends,
    "ADDITEMS": _Machine._appends,
    "SETITEM": _Machine._set_item,
    "SETITEMS": _Machine._set_items,
    "GLOBAL": _Machine._global,
    "STACK_GLOBAL": _Machine._stack_global,
    "PERSID": _Machine._persistent_text,
    "BINPERSID": _Machine._persistent_object,
    "REDUCE": _Machine._reduce,
    "NEWOBJ": _Machine._reduce,
    "NEWOBJ_EX": _Machine._new_with_names,
    "INST": _Machine._instance,
    "OBJ": _Machine._object,
    "BUILD": _Machine._build,
}
