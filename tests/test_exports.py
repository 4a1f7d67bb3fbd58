"""Whole exports by the command line: every target, both variants, both presets, all sizes."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from PIL import Image

from rethined_export.artifacts import Manifest, manifest_path, read_manifest
from rethined_export.cli.export import main as export
from rethined_export.converters import TARGETS, tflite
from rethined_export.export import verify
from rethined_export.models.rethined import Rethined
from rethined_export.photo.files import read_photo
from rethined_export.photo.scenes import free_form_mask, photo_path
from rethined_export.photo.window import Window
from rethined_export.recipes.rethined.graph import ExportGraph
from rethined_export.spec import load_reference
from tests.here import jobs_here
from tests.wanted import UNWANTED

#: What an artifact may weigh, over its weights in fp32: large constants would show here.
SIZE_RATIO = 1.15
#: What the patch program of a pair may weigh: it holds no weights.
PATCH_BYTES = 500_000
CASES = [
    "--hr 1024 --variant published",
    "--hr 512 --upscale patches",
    "--hr 1024 --upscale patches --split --top-k 4 --checkpoint WEIGHTS --least-mass 0%",
]
SLOW_CASES = [
    "--hr 512",
    "--hr 2048",
    "--hr 1024 --variant published --top-k 4",
    "--hr 1024 --upscale dense",
    "--hr 2048 --variant published",
    "--hr 4096",
    "--hr 4096 --variant published --top-k 4",
    "--hr 4096 --upscale patches --split",
    "--hr 1024 --upscale patches --split --patch-program --top-k 4",
    "--hr 4096 --upscale patches --hole-budget 100%",
    "--hr 8192 --upscale patches --split",
    "--hr 1024 --preset paper",
    "--hr 1024 --preset paper --variant published",
    "--hr 2048 --preset paper --upscale patches --split",
    "--hr 4096 --preset paper",
]
Made = list[tuple[str, Path, Manifest]]


@pytest.fixture(
    scope="module",
    params=[*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW_CASES)],
)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, weights: Path
) -> Made:
    """Target, artifact and manifest of each; the export itself has compared each with torch.

    The first by workers, as everyone's; the others here.

    The shipped weights have no coherence layer; the untrained checkpoint does.
    """
    folder = tmp_path_factory.mktemp("dist")
    options = request.param.replace("WEIGHTS", str(weights)).split()
    with nullcontext() if request.param == CASES[0] else jobs_here():
        assert export([*options, "--output", str(folder)]) == 0
    found = [
        (name, path, read_manifest(path))
        for name, target in TARGETS.items()
        for path in sorted(folder.glob(f"*{target.suffix}"))
    ]
    parts = 1 + ("--split" in options) + ("--patch-program" in options)
    assert len(found) == len(TARGETS) * parts
    return found


def model_of(manifest: Manifest) -> Rethined:
    """The reference model that an artifact was made from."""
    model = load_reference(manifest.spec).model
    assert isinstance(model, Rethined)
    return model


def test_every_artifact_equals_torch(made: Made) -> None:
    for _, path, manifest in made:
        assert manifest.parity is not None
        assert manifest.parity["passed"]
        assert len(manifest.parity["scenes"]) >= 4
        assert manifest_path(path).is_file()


def test_artifacts_hold_little_but_weights(made: Made) -> None:
    graph = ExportGraph(model_of(made[0][2]), 512)
    # Where tokens stand is set, not learned.
    places = graph.surroundings.buffers() if graph.config.surroundings else ()
    weights = 4 * sum(tensor.numel() for tensor in (*graph.parameters(), *places))
    for _, _, manifest in made:
        if manifest.spec.part == "patch":  # a few matrices
            assert manifest.bytes <= PATCH_BYTES
        else:
            assert manifest.bytes <= SIZE_RATIO * weights


def test_operators_are_those_that_accelerators_take(made: Made) -> None:
    for target, path, manifest in made:
        assert not UNWANTED[target] & set(manifest.operators)
        if target == "tflite":
            graphs = tflite.unpack(path).subgraphs
            tensors = [tensor for graph in graphs for tensor in graph.tensors]
            assert max(len(t.shape) for t in tensors if t.shape is not None) <= 4
            assert schema.TensorType.INT64 not in {tensor.type for tensor in tensors}


def test_manifests_tell_the_shapes(made: Made) -> None:
    for target, path, manifest in made:
        if target == "onnx":
            graph = onnx.load(path).graph
            for stored, told in ((graph.input, manifest.inputs), (graph.output, manifest.outputs)):
                shapes = {
                    v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in stored
                }
                assert shapes == {info.name: list(info.shape) for info in told}


def test_stock_tflite_interpreter_agrees(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFlow ships an interpreter of its own, which many apps still carry."""
    tensorflow = pytest.importorskip("tensorflow")
    monkeypatch.setattr(tflite, "Interpreter", tensorflow.lite.Interpreter)
    photo, hole = photo_path("coffee"), tmp_path / "mask.png"
    height, width = read_photo(photo).pixels.shape[:2]
    strokes = free_form_mask(Window(height, width), 0.03, seed=1)
    Image.fromarray(strokes.astype(np.uint8) * 255).save(hole)
    for _, path, manifest in (entry for entry in made if entry[0] == "tflite"):
        facts = manifest.spec.to_dict()
        places = {"image": str(photo), "mask": str(hole)}
        report = verify(lambda _: None, spec=facts, path=str(path), threads=2, **places)
        assert not report["failures"]
