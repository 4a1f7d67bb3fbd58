"""What records the tensors of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from rethined_export.converters.types import Array
from rethined_export.lint.graph import Graph

#: Told each tensor's name and values as it is computed; they may be overwritten afterwards.
Keep = Callable[[str, Array], None]


@dataclass(frozen=True)
class Wanted:
    """An input as a Runner takes it; a size is None where the file leaves one open."""

    shape: tuple[int | None, ...]
    dtype: str


class Recorder(Protocol):
    """A program, loaded to run operator by operator.

    Attributes:
        runtime: what runs it, in words.
        graph: its operators; tensors go by the names of its values.
        takes: its inputs by name.
        reads, gives: of each input and of each output, the name of its value.
    """

    runtime: str
    graph: Graph
    takes: Mapping[str, Wanted]
    reads: Mapping[str, str]
    gives: Mapping[str, str]

    def record(self, inputs: Mapping[str, Array], keep: Keep) -> None:
        """Run it once.

        Args:
            inputs: by name, as a :class:`~rethined_export.converters.types.Runner` takes them.

        Raises:
            ArtifactError: it cannot be run.
            UnsupportedOperatorError: with an operator that the runtime does not know.
        """

    def constants(self) -> Iterator[tuple[str, Array]]:
        """What is stored in the file, by name of its value."""
