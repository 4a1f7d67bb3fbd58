"""The runs that a search compares: an artifact's, a fresh conversion's, torch's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from rethined_export.bisect.pairing import by_position, by_value
from rethined_export.bisect.search import (
    Found,
    apart_as_laid_out,
    first_by_value,
    first_in_line,
    outputs_apart,
)
from rethined_export.bisect.telling import told
from rethined_export.converters import converter
from rethined_export.converters.types import Array, ArtifactError, Program
from rethined_export.jobs.registry import Report, job
from rethined_export.photo.masks import MaskRule
from rethined_export.recipes.types import TorchRunner
from rethined_export.spec import ExportSpec, load_reference
from rethined_export.tracing.artifact import recorder
from rethined_export.tracing.inputs import at_random, fitted, given_in
from rethined_export.tracing.program import ProgramRecorder
from rethined_export.tracing.tensors import Trace, traced
from rethined_export.tracing.types import Recorder

FRESH, TORCH, OTHER = "a fresh conversion", "torch", "the other artifact"
POSITION, VALUE = "position and name", "value"


@job
def search(
    report: Report,
    *,
    path: str,
    reference: str | None,
    spec: dict[str, Any] | None,
    fresh: str | None,
    threads: int,
    tolerance: float,
    image: str | None,
    mask: str | None,
    rule: dict[str, Any],
    frame: int,
) -> dict[str, Any]:
    """Find where an artifact departs.

    Args:
        reference: another artifact to compare with; without a spec there has to be one.
        fresh: an artifact of the same spec that was just converted, where that was possible.

    Returns:
        The answer as ``--json`` has it.
    """
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder), threads, tolerance, report)
        artifact = Path(path)
        if spec is None:
            assert reference is not None
            return runs.against_another(artifact, Path(reference), None)
        made = ExportSpec.from_dict(spec)
        scenes = made.recipe.scenes(
            made.options,
            Path(image) if image else None,
            Path(mask) if mask else None,
            MaskRule(**rule),
            frame,
        )
        case = runs.worst_case(made, artifact, scenes)
        if reference is not None:
            return runs.against_another(artifact, Path(reference), case)
        return runs.against_torch(artifact, case, Path(fresh) if fresh else None)


@dataclass(frozen=True)
class Case:
    """What one program is run on.

    Attributes:
        scene: its name. program: in torch.
        deployed: relative difference of each output from torch's, in the runtime as it is.
    """

    scene: str
    program: Program
    inputs: Mapping[str, Array]
    deployed: Mapping[str, float]


@dataclass
class Runs:
    """Runs programs on the same inputs and compares them.

    Attributes:
        folder: an empty one, for tensors.
    """

    folder: Path
    threads: int
    tolerance: float
    report: Report
    _count: int = field(default=0, init=False)

    def worst_case(self, spec: ExportSpec, artifact: Path, scenes: Iterable[Any]) -> Case:
        """The scene on which an artifact's outputs are farthest from torch's.

        Raises:
            ArtifactError: it cannot be run, or lacks an output.
            UserError: a scene needs no run of it.
        """
        self.report("loading the model")
        model = load_reference(spec).model
        programs = {part: spec.recipe.program(spec.options, model, part) for part in spec.parts}
        runners = {part: TorchRunner(program) for part, program in programs.items()}
        own = runners.pop(spec.part)
        cases = []
        with converter(spec.target).load(artifact, self.threads) as runtime:
            for scene in scenes:
                self.report(f"running on {scene.name}")
                inputs = given_in(spec, own.takes, runners, scene)
                made, truth = runtime(**inputs), own(**inputs)
                if missing := [name for name in truth if name not in made]:
                    raise ArtifactError(f"{artifact} has no output {', '.join(missing)}")
                apart = {name: apart_as_laid_out(made[name], truth[name]) for name in truth}
                cases.append(Case(scene.name, programs[spec.part], inputs, apart))
        return max(cases, key=lambda case: max(case.deployed.values()))

    def against_another(self, artifact: Path, other: Path, case: Case | None) -> dict[str, Any]:
        """Compare with an artifact of the same network, on a case or at random."""
        self.report("running operator by operator")
        mine = recorder(artifact, self.threads)
        inputs = at_random(mine.takes) if case is None else case.inputs
        made = self._traced(mine, inputs)
        self.report("running the reference")
        theirs = recorder(other, self.threads)
        if case is None:
            inputs = fitted(inputs, theirs.takes)
        truth = self._traced(theirs, inputs)
        found, how = self._in_line(made, truth), POSITION
        if found is None:
            found, how = first_by_value(made, truth, self.tolerance), VALUE
        return self._answer(made, truth, found, OTHER, how, case, outputs_apart(made, truth))

    def against_torch(self, artifact: Path, case: Case, fresh: Path | None) -> dict[str, Any]:
        """Compare with a fresh conversion, and, where that finds nothing, with torch by value."""
        self.report("running operator by operator")
        made = self._traced(recorder(artifact, self.threads), case.inputs)
        self.report("running torch")
        truth = self._traced(ProgramRecorder(case.program), case.inputs)
        apart = outputs_apart(made, truth)
        notes = []
        if fresh is not None:
            self.report("running the fresh conversion")
            again = self._traced(recorder(fresh, self.threads), case.inputs)
            found = self._in_line(made, again)
            if found is None:
                notes.append("its operators are not those of a fresh conversion")
            elif found.number is not None:
                answer = self._answer(made, again, found, FRESH, POSITION, case, apart)
                return {**answer, "source": self._source(again, found, made, truth)}
            else:
                notes.append("a fresh conversion computes the same, operator by operator")
        found = first_by_value(made, truth, self.tolerance)
        answer = self._answer(made, truth, found, TORCH, VALUE, case, apart)
        return {**answer, "notes": notes}

    def _traced(self, recorder: Recorder, inputs: Mapping[str, Array]) -> Trace:
        self._count += 1
        return traced(recorder, inputs, self.folder / str(self._count))

    def _in_line(self, made: Trace, reference: Trace) -> Found | None:
        pairs = by_position(made, reference)
        return None if pairs is None else first_in_line(made, pairs, self.tolerance)

    def _source(self, again: Trace, found: Found, made: Trace, truth: Trace) -> str:
        """Where torch's program makes what a fresh conversion has in the place of a departure."""
        assert found.number is not None
        outputs = {value.name for value in made.graph.operators[found.number].outputs}
        likes = {found.pairs[name].reference for name in outputs if name in found.pairs}
        theirs, _ = by_value(again, truth, self.tolerance, likes)
        places = {one.name: one.attributes["place"] for one in truth.graph.operators}
        return next((places[pair.reference] for pair in theirs.values()), "")

    def _answer(
        self,
        made: Trace,
        reference: Trace,
        found: Found,
        name: str,
        how: str,
        case: Case | None,
        stepped: dict[str, float],
    ) -> dict[str, Any]:
        deployed = {} if case is None else dict(case.deployed)
        worst = max([*stepped.values(), *deployed.values()], default=0.0)
        departure, source = None, ""
        if found.number is not None:
            departure = told(made, reference, found.pairs, found.number)
        if found.lost is not None:
            source = reference.graph.operators[found.lost].attributes.get("place", "")
        return {
            "scene": "random inputs" if case is None else case.scene,
            "tolerance": self.tolerance,
            "runtime": made.runtime,
            "reference": name,
            "matched_by": how,
            "matched": len(found.pairs) if how == POSITION else self._near(found),
            "tensors": sum(len(operator.outputs) for operator in made.graph.operators),
            "outputs": {"deployed": deployed, "operator_by_operator": stepped},
            "departs": departure is not None or not worst <= self.tolerance,
            "departure": departure,
            "source": source,
            "notes": [],
        }

    def _near(self, found: Found) -> int:
        return sum(pair.apart.relative <= self.tolerance for pair in found.pairs.values())
