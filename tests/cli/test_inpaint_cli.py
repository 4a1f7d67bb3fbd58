"""rethined-inpaint: what it refuses, what it writes, and that nothing is left behind."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import (
    gone,
    last_line,
    limit_file_size,
    mask,
    photo,
    refusal,
    save_image,
    send,
    start,
    wait_for,
    workers,
)
from PIL import Image

from rethined_export import inpaint as fill
from rethined_export.cli.inpaint import main
from tests.copies import copied

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A photo, its mask, and where the result goes."""
    inputs = tmp_path / "in"
    inputs.mkdir()
    (tmp_path / "out").mkdir()
    image, hole = photo(inputs / "photo.png"), mask(inputs / "mask.png")
    return [image, hole, tmp_path / "out" / "filled.png"]


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the model: everything becomes grey."""

    def run_job(job: Any, arguments: dict[str, Any], on_stage: Any) -> dict[str, Any]:
        on_stage("inpainting")
        folder = Path(arguments["folder"])
        np.save(folder / "output.npy", np.full_like(np.load(folder / "image.npy"), 0.5))
        return {}

    monkeypatch.setattr(fill, "run_job", run_job)


def options(files: list[Path]) -> list[str]:
    image, hole, output = map(str, files)
    return [image, hole, "--output", output]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


# --- Refused -------------------------------------------------------------------------------------


def spoil(path: Path, how: str) -> None:
    """Make a good image a bad one."""
    data = path.read_bytes()
    path.unlink()
    if how == "directory":
        path.mkdir()
    elif how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "empty":
        path.touch()
    elif how == "text":
        path.write_text("a photo, honestly")


@pytest.mark.parametrize("which", [0, 1], ids=["image", "mask"])
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "does not exist"),
        ("directory", "is a directory"),
        ("truncated", "is damaged or cut short"),
        ("empty", "is empty (0 bytes)"),
        ("text", "is not a readable image"),
    ],
)
def test_unreadable_files(
    which: int, how: str, said: str, files: list[Path], capsys: Capture
) -> None:
    spoil(files[which], how)
    line = refusal(main, options(files), capsys)
    assert f"{files[which]} {said}" in line
    assert not list(files[2].parent.iterdir())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda hole: mask(hole, 32, 64), "the mask is 64x32 but the photo is 64x64"),
        (lambda hole: save_image(hole, np.full((64, 64), 255, np.uint8)), "nothing to copy from"),
        (lambda hole: mask(hole, value=1), "highest value is 1 of 255"),
    ],
    ids=["sizes", "all hole", "saved as 0 and 1"],
)
def test_unusable_masks(change: Any, said: str, files: list[Path], capsys: Capture) -> None:
    change(files[1])
    assert said in refusal(main, options(files), capsys)
    assert not list(files[2].parent.iterdir())


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("out", "is a directory"),
        ("out/filled", "cannot tell the format"),
        ("out/filled.gif", "cannot tell the format"),
        ("missing/filled.png", "there is no folder"),
        ("in/photo.png/filled.png", "there is no folder"),
        ("in/mask.png", "exists; pass --overwrite"),
    ],
)
def test_unusable_outputs(
    output: str, said: str, files: list[Path], tmp_path: Path, capsys: Capture
) -> None:
    before = files[1].read_bytes()
    arguments = [*map(str, files[:2]), "--output", str(tmp_path / output)]
    line = refusal(main, arguments, capsys)
    assert said in line
    assert str(tmp_path / output) in line
    assert files[1].read_bytes() == before
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--output"),
        (["photo.png", "mask.png"], "--output"),
        (["photo.png", "--output", "x.png"], "MASK"),
        (["a.png", "b.png", "--output", "x.png", "--artefact", "y"], "--artefact"),
    ],
)
def test_usage(arguments: list[str], said: str, capsys: Capture) -> None:
    line = refusal(main, list(arguments), capsys)
    assert said in line
    assert "rethined-inpaint --help" in line


def test_place_that_cannot_be_written(files: list[Path], capsys: Capture) -> None:
    save_image(files[1], np.zeros((64, 64), np.uint8))
    arguments = [*map(str, files[:2]), "--output", "/proc/filled.png"]
    assert main(arguments) == 2
    assert "cannot write /proc/filled.png" in last_line(capsys.readouterr().err)


def test_missing_artifact(files: list[Path], capsys: Capture) -> None:
    line = refusal(main, [*options(files), "--artifact", "no [b] such.onnx"], capsys)
    assert "artifact no [b] such.onnx does not exist" in line


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.pt", "expected a file ending in .onnx, .tflite, .mlpackage"),
        ("empty.onnx", "was not made by rethined-export"),
        ("text.onnx", "is not an ONNX file"),
        ("folder.onnx", "Is a directory"),
        ("file.mlpackage", "is not a Core ML package"),
        ("empty.tflite", "is damaged or truncated"),
    ],
)
def test_files_that_are_no_artifact(
    name: str, said: str, files: list[Path], tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / name
    if name.startswith("folder"):
        path.mkdir()
    else:
        path.write_text("" if name.startswith("empty") else "text")
    line = refusal(main, [*options(files), "--artifact", path], capsys)
    assert said in line, line
    assert not list(files[2].parent.iterdir())


# --- Written -------------------------------------------------------------------------------------


def test_empty_mask_returns_the_photo(files: list[Path], capsys: Capture) -> None:
    save_image(files[1], np.zeros((64, 64), np.uint8))
    assert main(options(files)) == 0
    assert "marks no hole" in capsys.readouterr().err
    assert np.array_equal(pixels(files[2]), pixels(files[0]))


@pytest.mark.usefixtures("no_worker")
def test_grey_mask_states_the_threshold(files: list[Path], capsys: Capture) -> None:
    hole = np.zeros((64, 64), np.uint8)
    hole[8:16, 8:16], hole[32:40, 32:40] = 128, 127
    save_image(files[1], hole)
    assert main(options(files)) == 0
    assert "128 grey pixels" in (notes := capsys.readouterr().err)
    assert "128 of 255" in notes
    changed = (pixels(files[2]) != pixels(files[0])).any(axis=2)
    assert changed[hole == 128].any()
    assert not changed[hole != 128].any()


@pytest.mark.usefixtures("no_worker")
def test_overwrite(files: list[Path]) -> None:
    files[2].write_text("old")
    assert main([*options(files), "--overwrite"]) == 0
    assert pixels(files[2]).shape == (64, 64, 3)
    assert [file.name for file in files[2].parent.iterdir()] == ["filled.png"]


@pytest.mark.usefixtures("no_worker")
def test_names_are_printed_as_they_are(files: list[Path], capsys: Capture) -> None:
    files[2] = files[2].with_name("[red]x[bold]  'q\"; $(touch x) :smile:.png")
    assert main(options(files)) == 0
    assert capsys.readouterr().out == f"saved {files[2]}\n"


def test_artifact_fills_the_hole_only(files: list[Path], onnx_512: Path, tmp_path: Path) -> None:
    """A real artifact, in a folder whose name a shell or a library could stumble over."""
    artifact = copied(onnx_512, tmp_path / "[b] $(x); 'q'")
    assert main([*options(files), "--artifact", str(artifact)]) == 0
    hole = pixels(files[1]) > 0
    changed = (pixels(files[2]) != pixels(files[0])).any(axis=2)
    assert changed[hole].any()
    assert not changed[~hole].any()


# --- Cut short -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("empty", "said"),
    [(True, "cannot write {output}"), (False, "cannot write temporary files in")],
    ids=["output", "temporary"],
)
def test_disk_full(empty: bool, said: str, files: list[Path]) -> None:
    if empty:
        save_image(files[1], np.zeros((64, 64), np.uint8))
    process = start("inpaint", *options(files), python=limit_file_size(4096))
    _, errors = process.communicate()
    assert process.returncode == 2, errors
    assert said.format(output=files[2]) in last_line(errors)
    assert not list(files[2].parent.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt(number: signal.Signals, files: list[Path], tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    process = start("inpaint", *options(files), env=environment)
    wait_for(process, "loading the model")
    running = workers(process)
    send(process, number)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "interrupted" in last_line(errors)
    assert gone(running)
    assert not list(files[2].parent.iterdir())
    assert not list(temporary.iterdir())
