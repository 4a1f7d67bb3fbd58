"""An error planted in any operator of a saved artifact is named by the search, in every format.

In artifacts of less precision too, beside sound ones of the same precision.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from rethined_export.bisect.pairing import by_position, by_value
from rethined_export.bisect.report import TOLERANCE
from rethined_export.bisect.search import first_by_value, first_in_line, outputs_apart
from rethined_export.converters import TARGETS, reducers
from rethined_export.converters.reducing.types import Reduction
from rethined_export.converters.types import Array, run_program
from rethined_export.lint.graph import Graph
from rethined_export.photo.window import Window
from rethined_export.recipes.types import scene
from rethined_export.tracing.artifact import recorder
from rethined_export.tracing.program import ProgramRecorder
from rethined_export.tracing.tensors import Trace, traced
from tests.planting import plant
from tests.small_net import SIDE, build

PLANTS = 20
SEED = 17


@dataclass(frozen=True)
class SmallRun:
    """A sound artifact, its run and, as ``truth``, its reference's on the same inputs."""

    artifact: Path
    inputs: dict[str, Array]
    sound: Trace
    truth: Trace


@pytest.fixture(scope="module", params=TARGETS)
def small_run(
    request: pytest.FixtureRequest, small_exports: Path, tmp_path_factory: pytest.TempPathFactory
) -> SmallRun:
    folder = tmp_path_factory.mktemp("small_run")
    [artifact] = small_exports.glob(f"*{TARGETS[request.param].suffix}")
    example = scene(Window.square(SIDE))
    inputs = {name: tensor.numpy() for name, tensor in example.items()}
    with torch.no_grad():
        program = run_program(build().eval(), example, ("output",), ("image", "mask", "output"))
    return SmallRun(
        artifact,
        inputs,
        traced(recorder(artifact, 1), inputs, folder / "sound"),
        traced(ProgramRecorder(program), inputs, folder / "truth"),
    )


@dataclass(frozen=True)
class Planted:
    """A run of a broken copy; ``blamed``: values of the operator and of its direct readers."""

    what: str
    run: Trace
    blamed: set[str]


def planted(
    artifact: Path, inputs: dict[str, Array], sound: Trace, folder: Path, count: int
) -> Iterator[Planted]:
    """Runs with an error in one of as many operators, chosen at random, each."""
    random, graph = Random(SEED), sound.graph
    computing = [
        number
        for number, operator in enumerate(graph.operators)
        if sound.tensors[operator.outputs[0].name].dtype in (np.float32, np.float16, np.int8)
    ]
    for number in random.sample(computing, min(count, len(computing))):
        place = folder / str(number)
        place.mkdir()
        made = plant(artifact, number, random, place)
        run = traced(recorder(made.artifact, 1), inputs, place / "run")
        own = made.added | {value.name for value in graph.operators[number].outputs}
        what = f"{number} {graph.operators[number].kind}: {made.way}"
        yield Planted(what, run, own | read_by(run.graph, own))


def read_by(graph: Graph, names: frozenset[str]) -> set[str]:
    """Results of the operators that read any of these values."""
    readers = (one for one in graph.operators if names & {value.name for value in one.given})
    return {value.name for one in readers for value in one.outputs}


def test_a_sound_artifact_has_no_first_departure(small_run: SmallRun, tmp_path: Path) -> None:
    again = traced(recorder(small_run.artifact, 1), small_run.inputs, tmp_path / "again")
    pairs = by_position(again, small_run.sound)
    assert pairs is not None
    assert len(pairs) == sum(len(one.outputs) for one in again.graph.operators)
    assert first_in_line(again, pairs, TOLERANCE).number is None
    by_torch = first_by_value(again, small_run.truth, TOLERANCE)
    assert by_torch.number is None
    assert by_torch.lost is None


def test_planted_errors_are_named_beside_a_sound_conversion(
    small_run: SmallRun, tmp_path: Path
) -> None:
    small = small_run
    assert_named(planted(small.artifact, small.inputs, small.sound, tmp_path, PLANTS), small.sound)


def assert_named(cases: Iterator[Planted], sound: Trace) -> None:
    """Beside a sound run, each of the planted errors is found where it was planted."""
    found = 0
    for case in cases:
        pairs = by_position(case.run, sound)
        assert pairs is not None
        number = first_in_line(case.run, pairs, TOLERANCE).number
        assert number is not None, case.what
        named = {value.name for value in case.run.graph.operators[number].outputs}
        assert named & case.blamed, f"{case.what}, but operator {number} was named"
        found += 1
    assert found == PLANTS


REDUCED = [("onnx", "fp16"), ("onnx", "int8"), ("tflite", "int8"), ("tflite", "int8-weights")]


@pytest.mark.parametrize(("target", "precision"), REDUCED)
def test_planted_errors_are_named_in_reduced_artifacts(
    target: str, precision: str, small_exports: Path, tmp_path: Path
) -> None:
    small, _ = reduced_twice(target, precision, small_exports, tmp_path)
    assert_named(planted(small.artifact, small.inputs, small.sound, tmp_path, PLANTS), small.sound)


@pytest.mark.parametrize(("target", "precision"), [*REDUCED, ("coreml", "palette6")])
def test_a_second_reduction_departs_nowhere(
    target: str, precision: str, small_exports: Path, tmp_path: Path
) -> None:
    small, again = reduced_twice(target, precision, small_exports, tmp_path)
    pairs = by_position(again, small.sound)
    assert pairs is not None
    assert len(pairs) == sum(len(one.outputs) for one in again.graph.operators)
    assert first_in_line(again, pairs, TOLERANCE).number is None


def reduced_twice(
    target: str, precision: str, small_exports: Path, folder: Path
) -> tuple[SmallRun, Trace]:
    """A reduction and its run, and that of another of the same file."""
    [exact] = small_exports.glob(f"*{TARGETS[target].suffix}")
    inputs = {name: tensor.numpy() for name, tensor in scene(Window.square(SIDE)).items()}
    runs = []
    for name in ("again", "sound"):
        artifact = folder / f"{name}{exact.suffix}"
        reducer = reducers(target).reducer(exact)
        reducer.reduce(artifact, Reduction(precision, lambda: iter([inputs])))
        runs.append(traced(recorder(artifact, 1), inputs, folder / name))
    again, sound = runs
    return SmallRun(artifact, inputs, sound, sound), again


def test_planted_errors_are_named_beside_torch(small_run: SmallRun, tmp_path: Path) -> None:
    """As when a conversion itself is wrong, and a fresh one no better."""
    found = 0
    small = small_run
    for case in planted(small.artifact, small.inputs, small.sound, tmp_path, PLANTS):
        if max(outputs_apart(case.run, small_run.truth).values()) <= TOLERANCE:
            continue
        result = first_by_value(case.run, small_run.truth, TOLERANCE)
        assert result.number is not None, case.what
        assert result.lost is not None, case.what
        named = {value.name for value in case.run.graph.operators[result.number].outputs}
        # TFLite pads before a convolution where torch pads within: the padding is named then.
        before = {
            value.name
            for one in case.run.graph.operators
            if case.blamed & {v.name for v in one.outputs} and one.kind == "CONV_2D"
            for value in one.given
        }
        assert named & (case.blamed | before), f"{case.what}, but {result.number} was named"
        found += 1
    assert found >= PLANTS - 2


def test_every_tensor_of_a_sound_artifact_is_found_in_torch(small_run: SmallRun) -> None:
    pairs, _ = by_value(small_run.sound, small_run.truth, TOLERANCE)
    computed = [v.name for one in small_run.sound.graph.operators for v in one.outputs]
    lacking = [name for name in computed if name not in pairs]
    assert len(lacking) <= 1, lacking  # TFLite's padding before a convolution
