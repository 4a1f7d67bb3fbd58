"""Whole exports by the command line: every target, both variants, both presets, all sizes."""

from pathlib import Path

import pytest
from ai_edge_litert import schema_py_generated as schema

from rethined_export.artifacts import Manifest, manifest_path, read_manifest
from rethined_export.cli.export import main as export
from rethined_export.converters import TARGETS, tflite
from rethined_export.parity import check_parity
from rethined_export.rewrite.graph import ExportGraph
from rethined_export.scenes import default_scenes
from rethined_export.weights import load_weights

#: What an artifact may weigh, over its weights in fp32: large constants would show here.
SIZE_RATIO = 1.15
#: What converters write for operators that no delegate takes or that a rewrite should have removed.
UNWANTED = {
    "onnx": {"GatherND", "ScatterND", "ScatterElements", "EyeLike", "Range", "Col2Im"},
    "tflite": {"GATHER_ND", "EMBEDDING_LOOKUP", "SCATTER_ND", "RANGE"},
    "coreml": {"gather_nd", "scatter_nd", "scatter", "range_1d", "gather_along_axis"},
}

CASES = [
    "--hr 512",
    "--hr 512 --variant published",
    "--hr 512 --top-k 4",
    "--hr 1024 --variant published --top-k 4",
    "--hr 1024 --upscale dense",
    "--hr 2048",
]
SLOW_CASES = [
    "--hr 2048 --variant published",
    "--hr 4096",
    "--hr 4096 --variant published --top-k 4",
    "--hr 1024 --preset paper",
    "--hr 1024 --preset paper --variant published",
    "--hr 4096 --preset paper",
]


@pytest.fixture(
    scope="module",
    params=[*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW_CASES)],
)
def manifests(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Manifest]]:
    """Artifact and manifest by target; the export itself has compared each with torch."""
    folder = tmp_path_factory.mktemp("dist")
    assert export([*request.param.split(), "--output", str(folder)]) == 0
    made = {}
    for name, target in TARGETS.items():
        [path] = folder.glob(f"*{target.suffix}")
        made[name] = (path, read_manifest(path))
    return made


def test_every_target_equals_torch(manifests: dict[str, tuple[Path, Manifest]]) -> None:
    for path, manifest in manifests.values():
        assert manifest.parity is not None
        assert manifest.parity["passed"]
        assert len(manifest.parity["scenes"]) >= 4
        assert manifest_path(path).is_file()


def test_artifacts_hold_little_but_weights(manifests: dict[str, tuple[Path, Manifest]]) -> None:
    for _, manifest in manifests.values():
        assert manifest.spec.checkpoint is None
        weights = load_weights(None, manifest.spec.preset, manifest.spec.variant)
        graph = ExportGraph(weights.model, manifest.spec.hr)
        assert manifest.bytes <= SIZE_RATIO * 4 * sum(p.numel() for p in graph.parameters())


def test_operators_are_those_that_accelerators_take(
    manifests: dict[str, tuple[Path, Manifest]],
) -> None:
    for target, (_, manifest) in manifests.items():
        assert not UNWANTED[target] & set(manifest.operators)
    model = tflite.unpack(manifests["tflite"][0])
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    assert max(len(tensor.shape) for tensor in tensors if tensor.shape is not None) <= 4
    assert schema.TensorType.INT64 not in {tensor.type for tensor in tensors}


def test_stock_tflite_interpreter_agrees(
    manifests: dict[str, tuple[Path, Manifest]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFlow ships an interpreter of its own, which many apps still carry."""
    tensorflow = pytest.importorskip("tensorflow")
    path, manifest = manifests["tflite"]
    spec = manifest.spec
    monkeypatch.setattr(tflite, "Interpreter", tensorflow.lite.Interpreter)
    weights = load_weights(None, spec.preset, spec.variant)
    graph = ExportGraph(weights.model, spec.hr, spec.upscale, spec.top_k)
    scenes = list(default_scenes(spec.hr))[1:2]
    with tflite.load(path, threads=2) as runtime:
        report = check_parity(weights.model, graph, runtime, scenes)
    assert not report.failures
