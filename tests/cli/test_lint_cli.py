"""rethined-lint: its document, its table, what it refuses and its exit codes."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import refusal
from onnx import TensorProto, helper, numpy_helper

from rethined_export.cli.lint import main

Capture = pytest.CaptureFixture[str]


def save(path: Path, *kinds: str) -> Path:
    """A convolution, then operators of these kinds in a chain."""
    names = ["x", *(f"v{number}" for number in range(len(kinds))), "y"]
    nodes = [helper.make_node("Conv", ["x", "w"], [names[1]])]
    nodes += [
        helper.make_node(kind, [before], [after])
        for kind, before, after in zip(kinds, names[1:], names[2:], strict=False)
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 2, 4, 4]), (nodes[-1].output[0], None))
    ]
    weight = numpy_helper.from_array(np.ones((2, 2, 1, 1), np.float32), "w")
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def test_document(tmp_path: Path, capsys: Capture) -> None:
    path = save(tmp_path / "a.onnx", "Relu", "Mish")
    assert main([str(path), "--accelerator", "all", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["artifacts"]
    assert entry["target"] == "onnx"
    found = {one["accelerator"]: one for one in entry["accelerators"]}
    assert found.keys() == {"nnapi", "qnn-htp", "webgpu"}
    (finding,) = found["qnn-htp"]["findings"]
    assert (finding["operator"], finding["verdict"]) == ("Mish", "falls back")
    assert finding["source"].startswith("https://")
    operators = found["qnn-htp"]["operators"]
    assert [one["verdict"] for one in operators] == ["runs", "runs", "falls back"]
    assert operators[0]["multiply_adds"] == 2 * 4 * 4 * 2
    assert found["qnn-htp"]["multiply_adds"]["share"] == 1.0


def test_table(tmp_path: Path, capsys: Capture) -> None:
    path = save(tmp_path / "a.onnx", "Relu", "Mish")
    assert main([str(path), "--accelerator", "qnn-htp"]) == 0
    out = capsys.readouterr().out
    assert "3 operators: 2 run, 1 fall back, 0 unknown" in out
    assert "100.0% of 0.00 G run" in out
    assert "1 × Mish" in out
    assert "[1] https://" in out


@pytest.mark.parametrize(
    ("kinds", "accelerator", "code"),
    [(("Relu",), "qnn-htp", 0), (("Mish",), "qnn-htp", 5), (("Mish",), "webgpu", 0)],
)
def test_strict(
    kinds: tuple[str, ...], accelerator: str, code: int, tmp_path: Path, capsys: Capture
) -> None:
    """What is known to be refused fails; what is uncertain does not."""
    path = save(tmp_path / "a.onnx", *kinds)
    assert main([str(path), "--accelerator", accelerator, "--strict"]) == code
    captured = capsys.readouterr()
    if code:
        assert captured.err == f"error: {path}: operators that fall back: 1 on qnn-htp\n"
    else:
        assert not captured.err


def test_format_that_the_accelerator_does_not_run(tmp_path: Path, capsys: Capture) -> None:
    path = save(tmp_path / "a.onnx")
    line = refusal(main, [path, "--accelerator", "litert-gpu"], capsys)
    assert "litert-gpu runs .tflite files, not a.onnx" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "ARTIFACT"),
        (["a.onnx"], "--accelerator"),
        (["a.onnx", "--accelerator", "tpu"], "invalid choice: 'tpu'"),
        (["a.onnx", "--accelerator", "all"], "a.onnx does not exist"),
        (["a.pt", "--accelerator", "all"], "expected a file ending in .onnx, .tflite, .mlpackage"),
    ],
)
def test_usage(arguments: list[object], said: str, capsys: Capture) -> None:
    assert said in refusal(main, arguments, capsys)


@pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".mlpackage"])
def test_files_that_are_something_else(suffix: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"no artifact, but some bytes of text")
    assert str(path) in refusal(main, [path, "--accelerator", "all"], capsys)


def test_others_are_judged_when_one_is_damaged(tmp_path: Path, capsys: Capture) -> None:
    good, bad = save(tmp_path / "a.onnx", "Relu"), tmp_path / "b.onnx"
    bad.write_bytes(good.read_bytes()[:-9])
    assert main([str(bad), str(good), "--accelerator", "webgpu", "--json"]) == 2
    captured = capsys.readouterr()
    first, second = json.loads(captured.out)["artifacts"]
    assert first["exit_code"] == 2
    assert second["accelerators"][0]["counts"]["runs"] == 2
    assert len(captured.err.splitlines()) == 1
