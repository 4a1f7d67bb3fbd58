"""DeepFill in every target: a few channels wide, and (slow) whole by the command line."""

from pathlib import Path

import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper

from rethined_export.artifacts import read_manifest
from rethined_export.cli.export import main as export
from rethined_export.converters import TARGETS, converter, tflite
from rethined_export.models.deepfill import PRESETS
from rethined_export.parity.report import check_parity
from rethined_export.recipes.deepfill import RECIPE, DeepfillOptions
from rethined_export.recipes.types import Reference
from tests.narrow_deepfill import narrow, write_artifact
from tests.test_exports import UNWANTED

#: What an artifact may weigh, over its weights in fp32.
SIZE_RATIO = 1.05
#: Positions are 9 high and 10 wide, so that neither side can be taken for the other.
SIZE = "80x72"
#: Without and with fusing, with patches that are excluded.
DEFAULT = ("v2-tf", "v2-mmagic")


@pytest.mark.conversion
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "preset", [p if p in DEFAULT else pytest.param(p, marks=pytest.mark.slow) for p in PRESETS]
)
def test_narrow_network_equals_torch(preset: str, target: str, tmp_path: Path) -> None:
    options = DeepfillOptions(preset=preset, size=SIZE)
    artifact = write_artifact(options, target, tmp_path / f"made{TARGETS[target].suffix}")
    judge = RECIPE.judge(options, Reference(narrow(preset), "untrained", ""))
    scenes = list(RECIPE.scenes(options, None, None))[-2:]
    with converter(target).load(artifact, 1) as runtime:
        runner = RECIPE.caller(options, {"whole": runtime})
        assert not check_parity(judge, runner, "", scenes).failures
    assert_wanted(target, artifact)


def assert_wanted(target: str, artifact: Path) -> None:
    """Operators are those that accelerators take, on tensors of rank 4 at most."""
    assert not UNWANTED[target] & set(converter(target).count_operators(artifact))
    if target == "onnx":
        graph = onnx.load(artifact).graph
        stored = {entry.name: numpy_helper.to_array(entry).nbytes for entry in graph.initializer}
        kernels = {node.input[1] for node in graph.node if node.op_type.startswith("Conv")}
        assert kernels <= stored.keys(), "a kernel is made at run time"
        assert max(size for name, size in stored.items() if name not in kernels) <= 2**20
    if target == "tflite":
        model = tflite.unpack(artifact)
        tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
        assert max(len(t.shape) for t in tensors if t.shape is not None) <= 4
        assert schema.TensorType.INT64 not in {tensor.type for tensor in tensors}
        assert schema.BuiltinOperator.CUSTOM not in {c.builtinCode for c in model.operatorCodes}


@pytest.mark.slow
@pytest.mark.conversion
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("target", TARGETS)
def test_whole_network_by_the_command_line(preset: str, target: str, tmp_path: Path) -> None:
    options = ["--model", "deepfill", "--untrained", "--preset", preset, "--size", "104x96"]
    assert export([*options, "--target", target, "--output", str(tmp_path)]) == 0
    [artifact] = tmp_path.glob(f"*{TARGETS[target].suffix}")
    manifest = read_manifest(artifact)
    assert manifest.parity is not None
    assert manifest.parity["passed"]
    assert_wanted(target, artifact)
    network = RECIPE.reference(DeepfillOptions(preset=preset), None).model
    weights = 4 * sum(parameter.numel() for parameter in network.parameters())
    assert manifest.bytes <= SIZE_RATIO * weights
