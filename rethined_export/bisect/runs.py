"""The runs that a search compares: an artifact's, that of one made anew like it, torch's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from rethined_export.bisect.origin import following
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
from rethined_export.converters.reducing.types import EXACT
from rethined_export.converters.types import Array, ArtifactError, Program, Runner
from rethined_export.jobs.registry import Report, job
from rethined_export.photo.masks import MaskRule
from rethined_export.recipes.types import TorchRunner
from rethined_export.spec import ExportSpec, load_reference
from rethined_export.tracing.artifact import recorder
from rethined_export.tracing.inputs import at_random, fitted, given_in
from rethined_export.tracing.program import ProgramRecorder
from rethined_export.tracing.tensors import Trace, traced
from rethined_export.tracing.types import Recorder

FRESH, REDUCED = "a fresh conversion", "a fresh reduction"
TORCH, OTHER = "torch", "the other artifact"
POSITION, VALUE = "position and name", "value"
_ITS_PRECISION = (
    "a fresh reduction computes the same, operator by operator; what its precision costs in the "
    "picture, rethined-parity says"
)
#: How near torch's tensor is to that of a reduced artifact which holds the same.
_LOSS = 0.1
#: Operators behind a departure that may tell where it is in torch.
_BEHIND = 3


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
        fresh: an artifact of the same spec that was just made, where that was possible.

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
        again = Path(fresh) if fresh else None
        if again is not None and made.precision != EXACT:
            case = runs.worst_case(made, artifact, scenes, again)
            return runs.against_reduction(artifact, case, again)
        case = runs.worst_case(made, artifact, scenes)
        if reference is not None:
            return runs.against_another(artifact, Path(reference), replace(case, deployed={}))
        return runs.against_torch(artifact, case, again)


@dataclass(frozen=True)
class Case:
    """What one program is run on.

    Attributes:
        scene: its name. program: in torch.
        deployed: relative difference of each output from the reference's, which is torch's or that
            of an artifact, in the runtime as it is.
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

    def worst_case(
        self, spec: ExportSpec, artifact: Path, scenes: Iterable[Any], reduced: Path | None = None
    ) -> Case:
        """The scene on which an artifact's outputs are farthest from its reference's.

        Args:
            reduced: the reference; None: torch.

        Raises:
            ArtifactError: it cannot be run, or lacks an output.
            UserError: a scene needs no run of it.
        """
        self.report("loading the model")
        model = load_reference(spec).model
        programs = {part: spec.recipe.program(spec.options, model, part) for part in spec.parts}
        runners: dict[str, Runner] = {
            part: TorchRunner(program) for part, program in programs.items()
        }
        own = runners.pop(spec.part)
        cases = []
        with ExitStack() as loaded:
            load = converter(spec.target).load
            runtime = loaded.enter_context(load(artifact, self.threads))
            if reduced is not None:
                own = loaded.enter_context(load(reduced, self.threads))
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
                source = self._source(again, found, made, truth, [found.number], self.tolerance)
                return {**answer, "source": source}
            else:
                notes.append("a fresh conversion computes the same, operator by operator")
        found = first_by_value(made, truth, self.tolerance)
        answer = self._answer(made, truth, found, TORCH, VALUE, case, apart)
        return {**answer, "notes": notes}

    def against_reduction(self, artifact: Path, case: Case, fresh: Path) -> dict[str, Any]:
        """Compare a reduced artifact with one that was reduced just now, in the same way."""
        self.report("running operator by operator")
        made = self._traced(recorder(artifact, self.threads), case.inputs)
        self.report("running the fresh reduction")
        again = self._traced(recorder(fresh, self.threads), case.inputs)
        found, how = self._in_line(made, again), POSITION
        if found is None:
            found, how = first_by_value(made, again, self.tolerance), VALUE
        answer = self._answer(made, again, found, REDUCED, how, case, outputs_apart(made, again))
        if found.number is None:
            return {**answer, "notes": [_ITS_PRECISION]}
        if how == VALUE:
            return answer
        self.report("running torch")
        truth = self._traced(ProgramRecorder(case.program), case.inputs)
        # Weights and integers have no like in torch; what is made of them has.
        numbers = [found.number, *following(made.graph, found.number)[:_BEHIND]]
        return {**answer, "source": self._source(again, found, made, truth, numbers, _LOSS)}

    def _traced(self, recorder: Recorder, inputs: Mapping[str, Array]) -> Trace:
        self._count += 1
        return traced(recorder, inputs, self.folder / str(self._count))

    def _in_line(self, made: Trace, reference: Trace) -> Found | None:
        pairs = by_position(made, reference)
        return None if pairs is None else first_in_line(made, pairs, self.tolerance)

    def _source(
        self,
        again: Trace,
        found: Found,
        made: Trace,
        truth: Trace,
        numbers: Sequence[int],
        tolerance: float,
    ) -> str:
        """Where torch's program makes what a fresh artifact has in place of an operator's result.

        Args:
            numbers: of operators; the first that torch has something like decides.
        """
        places = {one.name: one.attributes["place"] for one in truth.graph.operators}
        for number in numbers:
            outputs = {value.name for value in made.graph.operators[number].outputs}
            likes = {found.pairs[name].reference for name in outputs if name in found.pairs}
            theirs, _ = by_value(again, truth, tolerance, likes)
            for pair in theirs.values():
                if pair.reference in places:  # and is no input
                    return str(places[pair.reference])
        return ""

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
