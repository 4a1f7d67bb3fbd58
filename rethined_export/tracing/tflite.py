"""TFLite: an interpreter that keeps all tensors, without the delegate that would fuse them."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from rethined_export.converters.tflite import channels_last, to_integers, unpack
from rethined_export.converters.types import Array, ArtifactError
from rethined_export.lint.tflite import read
from rethined_export.tracing.types import Keep, Wanted


class TfliteRecorder:
    """A TFLite model (see :class:`~rethined_export.tracing.types.Recorder`)."""

    runtime = "LiteRT, without delegates"

    def __init__(self, path: Path, threads: int) -> None:
        self.graph = read(path)
        self._images = channels_last(path)
        self._count = len(unpack(path).subgraphs[0].tensors)
        try:
            self._interpreter = Interpreter(
                str(path),
                num_threads=threads,
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ArtifactError(f"LiteRT cannot load {path}: {error}") from error
        inputs = self._interpreter.get_input_details()
        self._inputs = {one["name"]: one for one in inputs}
        self.takes: Mapping[str, Wanted] = {one["name"]: self._wanted(one) for one in inputs}
        self.reads: Mapping[str, str] = {one["name"]: str(one["index"]) for one in inputs}
        outputs = self._interpreter.get_output_details()
        self.gives: Mapping[str, str] = {one["name"]: str(one["index"]) for one in outputs}
        used = {value.name for operator in self.graph.operators for value in operator.flowing}
        self._computed = [place for place in range(self._count) if str(place) in used]

    def _wanted(self, detail: dict[str, Any]) -> Wanted:
        shape = tuple(int(size) if size >= 0 else None for size in detail["shape_signature"])
        if detail["name"] in self._images:
            batch, height, width, channels = shape
            shape = (batch, channels, height, width)
        return Wanted(shape, np.dtype(detail["dtype"]).name)

    def record(self, inputs: Mapping[str, Array], keep: Keep) -> None:
        """Run it once."""
        try:
            for name, value in inputs.items():
                if name in self._images:
                    value = np.ascontiguousarray(value.transpose(0, 2, 3, 1))
                given = self._inputs[name]
                if value.dtype.kind == "f":  # also what an artifact takes in integers
                    value = to_integers(value, given)
                self._interpreter.set_tensor(given["index"], value)
            self._interpreter.invoke()
        except (ValueError, RuntimeError, KeyError) as error:
            raise ArtifactError(f"LiteRT cannot run it: {error}") from error
        for place in self._computed:
            with suppress(ValueError):  # of a tensor of another subgraph, or of texts
                keep(str(place), self._interpreter.get_tensor(place))

    def constants(self) -> Iterator[tuple[str, Array]]:
        """Tensors that the file holds."""
        for place in set(range(self._count)).difference(self._computed):
            with suppress(ValueError):
                yield str(place), self._interpreter.get_tensor(place)
