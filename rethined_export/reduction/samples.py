"""What a program is given while photos are filled: inputs to measure its activations on."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rethined_export.converters.reducing.types import Sample
from rethined_export.converters.types import Array, Program, Runner
from rethined_export.photo.calibration import Calibration, Fingerprint
from rethined_export.recipes.types import Recipe, Reference, TorchRunner
from rethined_export.spec import ExportSpec

#: Runs of one program that are kept of each photo: a pair's second runs many times.
_RUNS = 4


class Samples:
    """Inputs of a spec's program, photo by photo.

    The programs that run before it are their torch twins; nothing it gives is needed, so it gives
    zeros and costs nothing, unless a later program has to be run again with what it gives.

    Args:
        count: photos; None: all.
    """

    def __init__(self, spec: ExportSpec, reference: Reference, count: int | None = None) -> None:
        self._spec, self._reference, self._count = spec, reference, count
        self.fingerprint: Fingerprint | None = None

    def __call__(self) -> Iterator[Sample]:
        """Begin a pass."""
        fingerprint = Fingerprint()
        caller, watched = self._caller()
        for scene in self.scenes():
            fingerprint.add(scene.inputs)
            watched.seen.clear()
            caller(**scene.inputs)
            yield from watched.seen
        self.fingerprint = fingerprint

    def scenes(self) -> Iterator[Any]:
        """The photos."""
        spec = self._spec
        found = spec.recipe.calibration(spec.options, spec.calibration or Calibration())
        for number, scene in enumerate(found):
            if number == self._count:
                return
            yield scene

    def _caller(self) -> tuple[Runner, "_Watched"]:
        spec = self._spec
        recipe: Recipe[Any] = spec.recipe
        parts = {
            part: recipe.program(spec.options, self._reference.model, part) for part in spec.parts
        }
        watched = _Watched(parts[spec.part], runs=len(parts) > 1)
        programs: dict[str, Runner] = {part: TorchRunner(one) for part, one in parts.items()}
        return recipe.caller(spec.options, programs | {spec.part: watched}), watched


class _Watched:
    """A program that keeps what it is given."""

    name = "watched"

    def __init__(self, program: Program, runs: bool) -> None:
        self._run: Callable[..., dict[str, Array]] | None = TorchRunner(program) if runs else None
        self._zeros = {
            info.name: np.zeros(info.shape, np.dtype(info.dtype)) for info in program.gives
        }
        self.takes = frozenset(program.inputs)
        self.seen: list[Sample] = []

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        if len(self.seen) < _RUNS:
            self.seen.append({name: np.array(value) for name, value in inputs.items()})
        return self._zeros if self._run is None else self._run(**inputs)
