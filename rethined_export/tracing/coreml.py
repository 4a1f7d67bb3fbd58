"""Core ML: the ML Program interpreter, on any system."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from rethined_export.converters.mil import MLProgram
from rethined_export.converters.types import Array, ArtifactError
from rethined_export.lint.coreml import read
from rethined_export.tracing.types import Keep, Wanted


class CoremlRecorder:
    """An ML Program (see :class:`~rethined_export.tracing.types.Recorder`)."""

    runtime = "ML Program interpreter"

    def __init__(self, path: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self.graph = read(path)
        self._program = MLProgram(path)
        self.takes: Mapping[str, Wanted] = {
            name: Wanted(shape, "float32") for name, shape in self._program.inputs.items()
        }
        self.reads: Mapping[str, str] = {name: name for name in self.takes}
        self.gives: Mapping[str, str] = {name: name for name in self._program.outputs}

    def record(self, inputs: Mapping[str, Array], keep: Keep) -> None:
        """Run it once."""
        try:
            for name, given in inputs.items():
                keep(name, given)
            self._program.run(inputs, keep)
        except ValueError as error:  # inputs that are not the program's
            raise ArtifactError(f"the ML Program cannot be run: {error}") from error

    def constants(self) -> Iterator[tuple[str, Array]]:
        """Constants that operators read."""
        yield from self._program.constants()
