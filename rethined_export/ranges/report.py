"""The whole: an artifact, photos, and what of it does not fit into float16."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from rethined_export.artifacts import read_manifest
from rethined_export.converters.types import Array, ArtifactError, Runner, TensorInfo
from rethined_export.cores import worker_threads
from rethined_export.deployed import embedded_spec
from rethined_export.errors import UserError
from rethined_export.export import find_checkpoints
from rethined_export.jobs.parent import run_job
from rethined_export.jobs.registry import Report, job
from rethined_export.photo.scenes import folder_scenes
from rethined_export.ranges.bounds import bounds
from rethined_export.ranges.findings import NEAR, OVERFLOWS, VANISHES, findings, largest
from rethined_export.ranges.float16 import LARGEST
from rethined_export.ranges.measuring import Interval, Measured, measure
from rethined_export.recipes.types import TorchRunner
from rethined_export.spec import ExportSpec, load_reference
from rethined_export.tracing.artifact import recorder
from rethined_export.tracing.inputs import at_random, given_in
from rethined_export.tracing.tensors import Tensors
from rethined_export.tracing.types import Recorder

VERDICTS = (OVERFLOWS, NEAR, VANISHES)
#: Runs on random inputs, where nobody says what an artifact takes.
_RANDOM_RUNS = 3
_UNIT = (0.0, 1.0)


def ranges(
    artifact: Path,
    photos: Path | None,
    checkpoints: tuple[Path, ...],
    stage: Callable[[str], None],
) -> dict[str, Any]:
    """How large an artifact's numbers get, and which of them float16 does not hold.

    Args:
        photos: folder of calibration photos; None: the bundled ones.
        checkpoints: where the weights of a model's other programs lie now.

    Returns:
        The answer as ``--json`` has it.

    Raises:
        ArtifactError: it is no artifact.
        UserError: it has no manifest, or takes no photos.
        JobError: it cannot be loaded or run, or the photos cannot be used.
    """
    if not artifact.exists():
        raise ArtifactError(f"{artifact} does not exist")
    facts = _facts(artifact, checkpoints)
    if facts is None and photos is not None:
        raise UserError(f"--photos: {artifact} was not made by rethined-export; what it takes is "
                        "not known, so it is run on random inputs")  # fmt: skip
    arguments = {
        "path": str(artifact),
        "facts": facts,
        "photos": None if photos is None else str(photos),
        "threads": worker_threads(),
    }
    answer = run_job(analyse, arguments, stage)
    del answer["peak_rss_bytes"]
    return answer


def _facts(artifact: Path, checkpoints: tuple[Path, ...]) -> dict[str, Any] | None:
    """Spec and ranges of inputs by the manifest; None for artifacts of others."""
    try:
        embedded_spec(artifact)
    except UserError:
        return None
    manifest = read_manifest(artifact)
    spec = manifest.spec.to_dict()
    if len(manifest.spec.parts) > 1:  # the others have to be run too
        found = [str(path) for path in find_checkpoints(manifest, checkpoints)]
        spec |= {"checkpoint": found[0], "more_checkpoints": found[1:]} if found else {}
    return {"spec": spec, "inputs": {info.name: _told_range(info) for info in manifest.inputs}}


def _told_range(info: TensorInfo) -> Interval | None:
    """What a manifest says of an input's values; None where it says no range."""
    if info.meaning.startswith("1 = hole"):
        return _UNIT
    found = re.search(r"in \[(-?\d+), (-?\d+)\]", info.meaning)
    return None if found is None else (float(found[1]), float(found[2]))


@job
def analyse(
    report: Report,
    *,
    path: str,
    facts: dict[str, Any] | None,
    photos: str | None,
    threads: int,
) -> dict[str, Any]:
    """Measure an artifact's ranges and bound them (see :func:`ranges`)."""
    torch.set_num_threads(threads)
    run = recorder(Path(path), threads)
    named: list[str] = []

    def announced() -> Iterator[Mapping[str, Array]]:
        for name, inputs in _inputs(run, facts, photos):
            report(f"running on {name}")
            named.append(name)
            yield inputs

    with tempfile.TemporaryDirectory() as name:
        measured = measure(run, announced(), Path(name))
        report("bounding")
        stored = Tensors(Path(name))
        for constant, values in run.constants():
            stored.keep(constant, values)
        limits = bounds(run.graph, stored, _given_ranges(run, facts))
    found = findings(run.graph, measured)
    counts = Counter(one.verdict for one in found)
    notes = [] if facts else ["what its inputs stand for is not known: taken for numbers in [0, 1]"]
    return {
        "runtime": run.runtime,
        "inputs": named,
        "counts": {verdict: counts[verdict] for verdict in VERDICTS},
        "findings": [one.to_dict() for one in found],
        "operators": _operators(run, measured, limits),
        "notes": [*run.graph.notes, *notes],
    }


def _inputs(
    run: Recorder, facts: dict[str, Any] | None, photos: str | None
) -> Iterator[tuple[str, dict[str, Array]]]:
    """What the program is given for each photo, or at random."""
    if facts is None:
        for seed in range(_RANDOM_RUNS):
            yield f"random inputs {seed}", at_random(run.takes, seed)
        return
    spec = ExportSpec.from_dict(facts["spec"])
    recipe, options = spec.recipe, spec.options
    others: dict[str, Runner] = {}
    if len(spec.parts) > 1:
        model = load_reference(spec).model
        others = {part: TorchRunner(recipe.program(options, model, part)) for part in spec.parts}
    scenes = recipe.scenes(options, None, None)
    if photos is not None:
        if not options.inpaints:
            raise UserError("--photos: this module takes no image and mask")
        scenes = folder_scenes(
            Path(photos), options.window, lambda hole: recipe.bears(options, hole)
        )
    for scene in scenes:
        yield scene.name, given_in(spec, frozenset(run.takes), others, scene)


def _given_ranges(run: Recorder, facts: dict[str, Any] | None) -> dict[str, Interval]:
    """By name of the value."""
    if facts is None:
        return {
            run.reads[name]: _UNIT
            for name, wanted in run.takes.items()
            if wanted.dtype.startswith("float")
        }
    told = {name: tuple(limits) for name, limits in facts["inputs"].items() if limits}
    return {run.reads[name]: limits for name, limits in told.items() if name in run.reads}


def _operators(
    run: Recorder, measured: Measured, limits: Mapping[str, Interval]
) -> list[dict[str, Any]]:
    """Every operator that makes floats."""
    listed = []
    for number, operator in enumerate(run.graph.operators):
        made = [value.name for value in operator.outputs if value.dtype.startswith("float")]
        if not made:
            continue
        known = [limits[name] for name in made if name in limits]
        listed.append(
            {
                "number": number + 1,
                "operator": operator.kind,
                "name": operator.name,
                "largest": max(largest(measured.tensors.get(name)) for name in made),
                "bound": max(map(largest, known)) if len(known) == len(made) else None,
                "within": measured.within.get(number, {}),
            }
        )
    return listed


def cannot_overflow(operators: list[dict[str, Any]]) -> int:
    """How many results are bounded below what float16 holds, whatever the photo."""
    return sum(one["bound"] is not None and one["bound"] <= LARGEST for one in operators)
