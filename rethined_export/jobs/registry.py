"""Which functions a worker may run: those that are marked as jobs, beside what they do."""

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

_MARK = "__rethined_job__"
_PACKAGE = "rethined_export."
#: Told the stage a job is in.
Report = Callable[[str], None]
Job = Callable[..., dict[str, Any]]
_F = TypeVar("_F", bound=Job)


def job(function: _F) -> _F:
    """Mark a function as one that a worker may run.

    It takes a report of stages and arguments that JSON can hold, and returns a dictionary that JSON
    can hold. It lies at the top of a module of this package.
    """
    setattr(function, _MARK, True)
    return function


def name_of(function: Job) -> str:
    """``module:function``."""
    return f"{function.__module__}:{function.__qualname__}"


def find(name: str) -> Job:
    """The job of a name.

    Raises:
        ValueError: not a job of this package.
    """
    module, _, function = name.partition(":")
    found = None
    if module.startswith(_PACKAGE):
        found = getattr(importlib.import_module(module), function, None)
    if not getattr(found, _MARK, False):
        raise ValueError(f"{name} is not a job")
    assert found is not None
    made: Job = found
    return made
