"""The operators that the interpreter knows, and the call that each of them is given."""

from collections.abc import Callable, Mapping
from typing import NoReturn, TypeVar

from torch import Tensor

from rethined_export.converters.types import UnsupportedOperatorError

Argument = Tensor | str | tuple[Tensor, ...]
Result = Tensor | tuple[Tensor, ...]


class Call:
    """One execution of an operator: its arguments under the names that MIL gives them.

    Floating-point tensors are float32 whatever the program declares, integers int32 or int64,
    scalars of rank 0. A parameter that the program leaves out and MIL gives no default is absent.
    The interpreter refuses a call with unread parameters, so none is ignored by accident.
    """

    def __init__(self, kind: str, name: str, arguments: Mapping[str, Argument]) -> None:
        self.kind, self.name = kind, name
        self._arguments = arguments
        self._read: set[str] = set()

    @property
    def unread(self) -> list[str]:
        """Parameters that the operator did not look at."""
        return sorted(self._arguments.keys() - self._read)

    def unsupported(self, option: str) -> NoReturn:
        """Raises UnsupportedOperatorError for an option that is not implemented."""
        raise UnsupportedOperatorError(f"{self.kind} ({self.name}): {option} is not supported")

    def given(self, key: str) -> bool:
        """Whether the parameter is present; it counts as read."""
        self._read.add(key)
        return key in self._arguments

    def tensor(self, key: str) -> Tensor:
        value = self._get(key)
        assert isinstance(value, Tensor), f"{key} is not a tensor"
        return value

    def optional(self, key: str) -> Tensor | None:
        return self.tensor(key) if self.given(key) else None

    def tensors(self, key: str) -> tuple[Tensor, ...]:
        value = self._get(key)
        assert isinstance(value, tuple), f"{key} is not a tuple"
        return value

    def text(self, key: str) -> str:
        value = self._get(key)
        assert isinstance(value, str), f"{key} is not a string"
        return value

    def number(self, key: str) -> float:
        return float(self.tensor(key).item())

    def integer(self, key: str) -> int:
        return int(self.tensor(key).item())

    def flag(self, key: str) -> bool:
        return bool(self.tensor(key).item())

    def integers(self, key: str, default: list[int] | None = None) -> list[int]:
        """Elements of a vector, or ``default`` where the parameter is absent."""
        if default is not None and not self.given(key):
            return default
        return [int(value) for value in self.tensor(key).reshape(-1).tolist()]

    def _get(self, key: str) -> Argument:
        self._read.add(key)
        return self._arguments[key]


Operator = Callable[[Call], Result]
OPERATORS: dict[str, Operator] = {}
_F = TypeVar("_F", bound=Operator)


def operator(*kinds: str) -> Callable[[_F], _F]:
    """Register a function as the implementation of MIL operators."""

    def register(function: _F) -> _F:
        OPERATORS.update(dict.fromkeys(kinds, function))
        return function

    return register
