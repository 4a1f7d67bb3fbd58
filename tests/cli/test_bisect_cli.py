"""rethined-bisect: what it says of artifacts, what it refuses, its exit codes."""

import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from commands import edit_manifest, last_line, mask, photo, refusal
from safetensors.torch import save_file

from rethined_export.bisect import report
from rethined_export.cli.bisect import main
from rethined_export.converters import TARGETS
from rethined_export.export import convert
from rethined_export.jobs.parent import JobError
from tests import here
from tests.copies import copied
from tests.planting import plant
from tests.tiny_onnx import saved

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def sound(small_onnx: Path, tmp_path: Path) -> Path:
    """A copy of the small network's artifact, with its manifest."""
    return copied(small_onnx, tmp_path / "sound")


@pytest.fixture
def broken(sound: Path, tmp_path: Path) -> Path:
    """A softmax whose result is 1 % too large; its manifest says nothing of it."""
    folder = tmp_path / "broken"
    folder.mkdir()
    made = plant(sound, SOFTMAX, Random(0), folder)
    shutil.copy(f"{sound}.json", folder)
    return made.artifact


SOFTMAX = 25


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch, sound: Path) -> list[str]:
    """Fresh conversions take the sound artifact, and searches are made here; if it is given a text,
    conversions fail with it."""
    failing: list[str] = []

    def run_job(job: Any, arguments: dict[str, Any], on_stage: Any) -> dict[str, Any]:
        if job is not convert:
            return here.run_job(job, arguments, on_stage)
        if failing:
            raise JobError(failing[0], 5)
        shutil.copy(sound, arguments["path"])
        return {}

    monkeypatch.setattr(report, "run_job", run_job)
    monkeypatch.setattr(report, "worker_threads", lambda: 1)
    return failing


# --- Refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "ARTIFACT"),
        (["a.onnx", "--image", "photo.png"], "--image and --mask go together"),
        (["a.onnx", "--tolerance", "0"], "--tolerance 0; use a number above 0 and below 1"),
        (["a.onnx", "--tolerance", "much"], "--tolerance much; use a number"),
        (["a.onnx"], "a.onnx does not exist"),
        (["a.pt"], "a.pt does not exist"),
    ],
)
def test_usage(arguments: list[object], said: str, capsys: Capture) -> None:
    assert said in refusal(main, arguments, capsys)


@pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".mlpackage", ".pt"])
def test_files_that_are_something_else(suffix: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"no artifact, but some bytes of text")
    assert str(path) in refusal(main, [path], capsys)


def test_a_file_of_another_tool_needs_a_reference(tmp_path: Path, capsys: Capture) -> None:
    path = saved(tmp_path / "a.onnx", {"x": (2,)}, {}, ("Relu", ["x"], "y", {}))
    line = refusal(main, [path], capsys)
    assert "was not made by rethined-export" in line
    assert "--reference" in line


def test_missing_manifest_and_missing_reference(sound: Path, capsys: Capture) -> None:
    line = refusal(main, [sound, "--reference", sound.with_name("gone.onnx")], capsys)
    assert "gone.onnx does not exist" in line
    Path(f"{sound}.json").unlink()
    assert "no manifest at" in refusal(main, [sound], capsys)


def test_checkpoint_that_is_another(sound: Path, capsys: Capture) -> None:
    other = sound.with_name("other.safetensors")
    save_file({"weight": torch.zeros(1)}, other)
    edit_manifest(sound, lambda facts: facts["spec"].update(checkpoint=str(other)))
    assert "is not the checkpoint" in refusal(main, [sound], capsys)


# --- Found ---------------------------------------------------------------------------------------


def test_a_broken_operator_is_shown(
    broken: Path, converted: list[str], tmp_path: Path, capsys: Capture
) -> None:
    image, hole = photo(tmp_path / "photo.png"), mask(tmp_path / "mask.png")
    options = ["--image", str(image), "--mask", str(hole)]
    assert main([str(broken), *options]) == 3
    out = capsys.readouterr().out
    assert f"{broken.name} departs from a fresh conversion on photo" in out
    assert "first departure: Mul planted_factor, operator 27 of 44" in out
    assert "softmax_before" in out
    assert "28 MatMul" in out


def test_where_no_fresh_conversion_can_be_made_torch_is_asked(
    broken: Path, converted: list[str], capsys: Capture
) -> None:
    converted.append("no converter")
    assert main([str(broken), "--json", "--tolerance", "1e-5"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert (found["reference"], found["matched_by"]) == ("torch", "value")
    assert found["departure"]["operator"] == "Mul"
    assert found["departure"]["name"] == "planted_factor"
    assert "small_net.py" in found["source"]
    assert "no converter" in found["notes"][0]
    rows = found["departure"]["growth"]
    errors = [row["relative_difference"] for row in rows]
    assert max(errors[:-1]) <= 1e-5 < errors[-1]


def test_any_two_files_of_one_network(
    sound: Path, broken: Path, converted: list[str], capsys: Capture
) -> None:
    assert main([str(sound), "--reference", str(broken), "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert (found["reference"], found["matched_by"]) == ("the other artifact", "position and name")
    assert found["departure"]["operator"] == "MatMul"  # which reads what is too large there


def test_files_of_other_tools(converted: list[str], tmp_path: Path, capsys: Capture) -> None:
    """On random inputs, by value: one fuses what the other does not, and takes other names."""
    stored = {"c": np.float32(3), "d": np.float32(4)}
    one = saved(tmp_path / "one.onnx", {"x": (5,)}, {"c": np.float32(12)},
                ("Mul", ["x", "c"], "m", {}), ("Tanh", ["m"], "y", {}))  # fmt: skip
    two = saved(tmp_path / "two.onnx", {"in": (5,)}, stored, ("Mul", ["in", "c"], "a", {}),
                ("Mul", ["a", "d"], "b", {}), ("Sigmoid", ["b"], "y", {}))  # fmt: skip
    assert main([str(one), "--reference", str(two)]) == 3
    out = capsys.readouterr().out
    assert "one.onnx departs from the other artifact on random inputs" in out
    assert "first departure: Tanh y, operator 2 of 2" in out
    assert main([str(one), "--reference", str(one)]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_a_real_fresh_conversion(
    target: str, small_exports: Path, tmp_path: Path, capsys: Capture
) -> None:
    """A sound artifact agrees; one with a broken operator departs there."""
    [artifact] = small_exports.glob(f"*{TARGETS[target].suffix}")
    assert main([str(artifact), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["departure"] is None
    assert "a fresh conversion computes the same, operator by operator" in found["notes"]
    made = plant(artifact, 7, Random(0), tmp_path)
    shutil.copy(f"{artifact}.json", tmp_path)
    assert main([str(made.artifact), "--json"]) == 3
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["reference"] == "a fresh conversion"
    assert found["departure"]["number"] in (8, 9)
    assert "small_net.py" in found["source"]
    assert "running the fresh conversion" in last_line(captured.err)
