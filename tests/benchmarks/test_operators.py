"""Operator profiles: what the parsers make of traces, and real ones of both runtimes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rethined_export.benchmarks.operators import Node, Operators, heaviest, onnx, operators, tflite
from rethined_export.cli.bench import main
from rethined_export.converters.types import ArtifactError
from rethined_export.jobs.parent import run_job

Capture = pytest.CaptureFixture[str]
NODES = st.builds(
    Node,
    st.sampled_from(["Conv", "Add", "Mul", "Gather", "Resize"]),
    st.text("ab:[]1", min_size=1),
    st.floats(0, 1e5),
    st.integers(1, 3),
)


@given(st.lists(NODES, min_size=1, max_size=60))
def test_shares_are_of_the_whole_and_heaviest_come_first(nodes: list[Node]) -> None:
    made = heaviest(nodes, "runtime", 1, 10)
    for rows in (made.kinds, made.nodes):
        assert sum(row.share for row in rows) <= 1 + 1e-9
        assert [row.ms for row in rows] == sorted((row.ms for row in rows), reverse=True)
        assert 1 <= len(rows) <= 10
    assert sum(row.count for row in made.kinds) == sum(node.count for node in nodes)
    assert sum(row.ms for row in made.kinds) == pytest.approx(made.ms)
    assert Operators.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def event(name: str, ts: int, dur: int, kind: str = "") -> dict[str, Any]:
    return {"cat": "Node", "name": name, "ts": ts, "dur": dur, "args": {"op_name": kind}}


def test_the_last_runs_of_a_trace_count() -> None:
    trace = [event("session_initialization", 0, 90)]
    for run in range(3):
        at, slow = 1000 * run, 800 if run == 0 else 1
        trace += [event("a_kernel_time", at + 10, 100 * slow, "Conv"),
                  event("b_kernel_time", at + 20, 300 * slow, "Add"),
                  event("model_run", at, 500)]  # fmt: skip
    assert onnx.parse(trace, 2) == [Node("Conv", "a", 0.1), Node("Add", "b", 0.3)]
    with pytest.raises(ArtifactError, match="holds 3 runs, not 4"):
        onnx.parse(trace, 4)
    with pytest.raises(ArtifactError, match="holds no operator"):
        onnx.parse([event("model_run", 0, 1)], 1)


SUMMARY = """
============== Run Order ==============
             [node type]  [start]  [first]  [avg ms]     [%]   [cdf%]  [mem KB]  [times called]  [Name]
   Delegate/Subtract (ND)   0.000    3.781     6.000  40.00%   40.00%     0.000              10  [Delegate]:3
               MIRROR_PAD   7.001    0.500     0.600   2.00%   42.00%     0.000               5  [Builtin]:9
============== Top by Computation Time ==============
               MIRROR_PAD   7.001    0.500     0.600   2.00%   42.00%     0.000               5  [Builtin]:9
Number of nodes executed: 3
"""  # noqa: E501


def test_the_first_table_of_a_summary_counts() -> None:
    assert tflite.parse(SUMMARY, 5) == [
        Node("Subtract (ND)", "[Delegate]:3", 12.0, 2),
        Node("MIRROR_PAD", "[Builtin]:9", 0.6, 1),
    ]
    with pytest.raises(ArtifactError, match="lists no operator"):
        tflite.parse("nothing of the kind", 5)


def test_onnx_beside_the_timed_runs(onnx_512: Path, tmp_path: Path, capsys: Capture) -> None:
    page, table = tmp_path / "a.html", tmp_path / "a.md"
    options = ["--runs", "2", "--warmup", "1", "--threads", "1", "--budget-ms", "60000"]
    files = ["--report", str(page), "--markdown", str(table)]
    assert main([str(onnx_512), *options, *files, "--profile", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["ms"]["runs"] == 2
    kinds = {row["operator"]: row for row in result["operators"]["kinds"]}
    assert len(kinds) == 10 == len(result["operators"]["nodes"])
    assert kinds["Conv"]["count"] > 20 and kinds["Conv"]["share"] > 0.05
    assert sum(row["share"] for row in kinds.values()) <= 1 + 1e-9
    for text in (page.read_text(), table.read_text()):
        assert "profiler on this machine" in text and "Conv" in text

    assert main([str(onnx_512), *options, "--profile"]) == 0
    assert "Conv" in capsys.readouterr().out
    assert main([str(onnx_512), "--profile", "--device", "arm64-emulator"]) in (2, 6)


def two_operators(path: Path) -> Path:
    """A TFLite graph of one operator that XNNPACK takes over and one that it leaves."""
    from ai_edge_litert import schema_py_generated as schema

    operators = (schema.BuiltinOperator.LOGISTIC, schema.BuiltinOperator.ZEROS_LIKE)
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    graph.tensors, graph.operators, model.operatorCodes = [], [], []
    for name in ("x", "h", "y"):
        tensor = schema.TensorT()
        tensor.name, tensor.shape = name, np.array([1, 256, 256, 8], np.int32)
        tensor.type = schema.TensorType.FLOAT32
        graph.tensors.append(tensor)
    for place, number in enumerate(operators):
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = number
        code.version, operator.opcodeIndex = 1, place
        operator.inputs = np.array([place], np.int32)
        operator.outputs = np.array([place + 1], np.int32)
        model.operatorCodes.append(code)
        graph.operators.append(operator)
    graph.inputs, graph.outputs = np.array([0], np.int32), np.array([2], np.int32)

    from rethined_export.converters.tflite import pack

    path.write_bytes(pack(model))
    return path


def test_litert_tells_xnnpacks_operators_and_its_own(tmp_path: Path) -> None:
    path = two_operators(tmp_path / "a b.tflite")
    told = run_job(operators, {"artifact": str(path), "threads": 1}, lambda _: None)
    kinds = {row["operator"]: row for row in told["kinds"]}
    assert kinds.keys() == {"Sigmoid (NC)", "ZEROS_LIKE"}
    assert all(row["count"] == 1 for row in kinds.values())
    assert sum(row["share"] for row in kinds.values()) == pytest.approx(1)
    assert told["ms"] > 0


@pytest.mark.parametrize("name", ["a.onnx", "a.tflite"])
def test_a_file_that_is_no_graph(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"no graph at all")
    module = onnx if path.suffix == ".onnx" else tflite
    with pytest.raises(ArtifactError, match=name):
        module.node_times(path, 1, 1, 1)
