"""rethined-bisect: what it says of artifacts, what it refuses, its exit codes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from commands import edit_manifest, last_line, mask, photo, refusal
from safetensors.torch import save_file

from rethined_export import export as pipeline
from rethined_export.artifacts import manifest_path, read_manifest
from rethined_export.bisect import report
from rethined_export.cli.bisect import main
from rethined_export.converters import TARGETS
from rethined_export.export import convert
from rethined_export.jobs.parent import JobError
from rethined_export.lint.onnx import read
from rethined_export.photo.calibration import Calibration
from rethined_export.reduction import reduce as reduction
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
        return {"peak_rss_bytes": 0, "calibrated": None}

    for module in (report, pipeline):
        monkeypatch.setattr(module, "run_job", run_job)
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


# --- Of less precision ---------------------------------------------------------------------------


def reduced(sound: Path, calibration: Calibration, precision: str = "int8", **how: Any) -> Path:
    """A reduction of the small network's artifact, with a manifest that says so."""
    manifest = read_manifest(sound)
    spec = replace(manifest.spec, precision=precision, calibration=calibration)
    path = sound.with_name(spec.file_name())
    arguments = {"spec": spec.to_dict(), "source": str(sound), "path": str(path), "threads": 1}
    made = here.run_job(reduction.reduce, arguments | how, lambda _: None)
    manifest = replace(manifest, spec=spec, calibrated=made["calibrated"], kept=tuple(made["kept"]))
    manifest_path(path).write_text(manifest.to_json())
    return path


def test_a_sound_reduction_agrees_with_a_fresh_one(
    sound: Path, converted: list[str], capsys: Capture
) -> None:
    """To the bit, so that a planted error of any size departs."""
    path = reduced(sound, Calibration())
    assert main([str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["reference"], found["matched_by"]) == ("a fresh reduction", "position and name")
    assert found["matched"] == found["tensors"]
    assert found["outputs"] == {
        "deployed": {"output": 0.0},
        "operator_by_operator": {"output": 0.0},
    }
    assert "rethined-parity" in found["notes"][0]


def test_a_broken_reduction_departs_where_it_is_broken(
    sound: Path, converted: list[str], tmp_path: Path, capsys: Capture
) -> None:
    """Its weights are in eight bits; what dequantises them is the first to be wrong."""
    path = reduced(sound, Calibration())
    folder = tmp_path / "broken"
    folder.mkdir()
    operators = read(path).operators
    number = max(n for n, one in enumerate(operators)
                 if one.kind == "DequantizeLinear" and one.inputs[0].constant)  # fmt: skip
    made = plant(path, number, Random(0), folder)
    shutil.copy(manifest_path(path), folder)
    assert main([str(made.artifact), "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["reference"] == "a fresh reduction"
    assert found["departure"]["number"] == number + 1
    assert "self.leave" in found["source"]  # the layer whose weights they are
    stored = [one for one in found["departure"]["inputs"] if one["stored"]]
    assert sum(one["elements_that_differ"] > 0 for one in stored) == 1  # weights, scale or zero


def test_the_layers_that_a_search_kept_are_kept_again(
    sound: Path, converted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(*_: object) -> None:
        pytest.fail("searched for them once more")

    monkeypatch.setattr(reduction, "keep_worst", search)
    [layer, *_] = reduction.reducers("onnx").reducer(sound).layers()
    assert main([str(reduced(sound, Calibration(), "mixed", keep=[layer]))]) == 0


def test_photos_it_was_calibrated_on(
    sound: Path, converted: list[str], tmp_path: Path, capsys: Capture
) -> None:
    """They are needed again, and the same ones."""
    before, now = tmp_path / "before", tmp_path / "now"
    before.mkdir()
    photo(before / "one.png")
    path = reduced(sound, Calibration(str(before)))
    before.rename(now)
    line = refusal(main, [path], capsys)
    assert "calibrated on pictures that are needed again" in line
    assert f"--calibration {before} is not a folder" in line
    assert main([str(path), "--calibration", str(now)]) == 0
    photo(now / "two.png")
    assert main([str(path), "--calibration", str(now)]) == 2
    line = last_line(capsys.readouterr().err)
    assert "have changed: they were 1 of sha256" in line
    assert "and are 2 of" in line
    line = refusal(main, [path, "--calibration-masks", now], capsys)
    assert f"--calibration-masks {now}: " in line
    assert "was not calibrated on such" in line


def test_a_reduction_that_cannot_be_made_again_says_so(
    sound: Path, converted: list[str], capsys: Capture
) -> None:
    path = reduced(sound, Calibration())
    converted.append("no converter")
    assert main([str(path), "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["reference"] == "torch"
    assert "what int8 loses departs too: no converter" in found["notes"][0]


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
