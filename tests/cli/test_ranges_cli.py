"""rethined-ranges: its document, its table, what it refuses and its exit codes."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands import photo, refusal, save_image

from rethined_export.cli.ranges import main
from rethined_export.converters import TARGETS
from rethined_export.jobs.parent import run_job
from rethined_export.ranges import report
from tests import here
from tests.tiny_onnx import saved

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "run_job", here.run_job)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Another tool's file: its mean sums 90000 numbers, and its epsilon is zero in float16."""
    stored = {"a": np.array([2, 3]), "c": np.float32(2), "e": np.float32(1e-8)}
    return saved(
        tmp_path / "a.onnx",
        {"x": (1, 1, 300, 300)},
        stored,
        ("Mul", ["x", "c"], "m", {}),
        ("ReduceMean", ["m", "a"], "s", {}),
        ("Add", ["s", "e"], "y", {}),
    )


def test_document(foreign: Path, capsys: Capture) -> None:
    assert main([str(foreign), "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["artifacts"]
    assert entry["counts"] == {"overflows": 1, "near": 0, "vanishes": 1}
    mean, epsilon = entry["findings"]
    assert (mean["operator"], mean["what"], mean["verdict"]) == ("ReduceMean", "sum", "overflows")
    assert 80_000 < mean["magnitude"] < 100_000
    assert (epsilon["operator"], epsilon["number"]) == ("Add", 3)
    bounds = {one["operator"]: one["bound"] for one in entry["operators"]}
    assert bounds == pytest.approx({"Mul": 2, "ReduceMean": 2, "Add": 2 + 1e-8})
    assert "taken for numbers in [0, 1]" in entry["notes"][0]


def test_table_and_strict(foreign: Path, capsys: Capture) -> None:
    assert main([str(foreign), "--strict"]) == 3
    captured = capsys.readouterr()
    assert "3 of them cannot pass 65504, whatever the photo" in captured.out
    assert "1 × ReduceMean" in captured.out
    last = captured.err.splitlines()[-1]
    assert last == f"error: {foreign}: float16 does not hold it: 1 overflows, 1 vanishes"


def test_our_own_on_a_folder_of_photos(small_onnx: Path, tmp_path: Path, capsys: Capture) -> None:
    for name in ("a.png", "b.png"):
        photo(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no photo")
    assert main([str(small_onnx), "--photos", str(tmp_path), "--json", "--strict"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["artifacts"]
    assert entry["inputs"] == ["a", "b"]
    assert len(entry["operators"]) == 43
    assert not entry["notes"]


def test_photos_that_say_nothing(small_onnx: Path, tmp_path: Path, capsys: Capture) -> None:
    grey = tmp_path / "grey"
    grey.mkdir()
    save_image(grey / "grey.png", np.full((40, 40, 3), 90, np.uint8))
    for folder, said in (
        (tmp_path, "holds no photo"),
        (grey, "are of one colour each"),
        (tmp_path / "gone", "is not a folder of photos"),
    ):
        assert main([str(small_onnx), "--photos", str(folder)]) == 2
        assert said in capsys.readouterr().err.splitlines()[-1]


def test_photos_for_a_file_whose_inputs_nobody_knows(
    foreign: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert "what it takes is not known" in refusal(main, [foreign, "--photos", tmp_path], capsys)


def test_open_sizes(tmp_path: Path, capsys: Capture) -> None:
    path = saved(tmp_path / "a.onnx", {"x": ("n", 3)}, {}, ("Relu", ["x"], "y", {}))
    assert main([str(path)]) == 2
    assert "input x is [?, 3]: the file leaves a size open" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "ARTIFACT"),
        (["a.onnx"], "a.onnx does not exist"),
        (["a.onnx", "--photo", "x"], "--photo"),
    ],
)
def test_usage(arguments: list[object], said: str, capsys: Capture) -> None:
    assert said in refusal(main, arguments, capsys)


@pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".mlpackage", ".pt"])
def test_files_that_are_something_else(suffix: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"no artifact, but some bytes of text")
    assert str(path) in refusal(main, [path], capsys)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_in_a_process_of_its_own(target: str, small_exports: Path, capsys: Capture,
                                 monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(report, "run_job", run_job)
    [artifact] = small_exports.glob(f"*{TARGETS[target].suffix}")
    assert main([str(artifact), "--json", "--strict"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["artifacts"]
    assert entry["inputs"] == ["astronaut", "coffee", "rocket", "hubble"]
    # The scores before the softmax; every format computes the same network.
    assert max(one["largest"] for one in entry["operators"]) == pytest.approx(176.374, rel=1e-3)
