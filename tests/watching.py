"""What the modules of a network give while it runs."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def watched(model: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Outputs by module name, those of the last run within the context."""
    made: dict[str, Any] = {}

    def watch(name: str) -> Any:
        def keep(_module: nn.Module, _inputs: object, output: Any) -> None:
            made[name] = output

        return model.get_submodule(name).register_forward_hook(keep)

    hooks = [watch(name) for name in names]
    try:
        yield made
    finally:
        for hook in hooks:
            hook.remove()
