"""ONNX: every tensor made an output of a copy, which ONNX Runtime runs unoptimised."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from rethined_export.converters.onnx import read as load
from rethined_export.converters.onnx import session_options, to_levels
from rethined_export.converters.types import Array, ArtifactError
from rethined_export.lint.onnx import read
from rethined_export.tracing.types import Keep, Wanted


class OnnxRecorder:
    """An ONNX model (see :class:`~rethined_export.tracing.types.Recorder`)."""

    runtime = "ONNX Runtime, unoptimised"

    def __init__(self, path: Path, threads: int) -> None:
        load(path)  # says what the file is, if it is none
        self.graph = read(path)
        model = onnx.load(path)
        self._stored = list(model.graph.initializer)
        self.gives: Mapping[str, str] = {output.name: output.name for output in model.graph.output}
        made = [name for node in model.graph.node for name in node.output if name]
        model.graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in made if name not in self.gives
        )
        options = session_options(threads)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors share no base class of their own
            raise ArtifactError(f"ONNX Runtime cannot load {path}: {_line(error)}") from error
        self.takes: Mapping[str, Wanted] = {
            given.name: _wanted(given) for given in self._session.get_inputs()
        }
        self.reads: Mapping[str, str] = {name: name for name in self.takes}
        self._names = [output.name for output in self._session.get_outputs()]

    def record(self, inputs: Mapping[str, Array], keep: Keep) -> None:
        """Run it once."""
        given = {
            name: to_levels(value) if self.takes[name].dtype == "uint8" else value
            for name, value in inputs.items()
        }
        try:
            values = self._session.run(self._names, given)
        except Exception as error:
            raise ArtifactError(f"ONNX Runtime cannot run it: {_line(error)}") from error
        for name, value in given.items():
            keep(name, value)
        for name in reversed(self._names):
            value = values.pop()  # so that each goes as soon as it is kept
            if isinstance(value, np.ndarray):  # and not a sequence of tensors
                keep(name, value)

    def constants(self) -> Iterator[tuple[str, Array]]:
        """Initialisers; constants that are nodes are recorded."""
        for tensor in self._stored:
            yield tensor.name, numpy_helper.to_array(tensor)


def _wanted(given: Any) -> Wanted:
    shape = tuple(size if isinstance(size, int) else None for size in given.shape)
    dtype = given.type.removeprefix("tensor(").removesuffix(")")
    return Wanted(shape, {"float": "float32", "double": "float64"}.get(dtype, dtype))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
