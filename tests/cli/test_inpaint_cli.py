"""rethined-inpaint: what it refuses, what it writes, and that nothing is left behind."""

import json
import os
import shlex
import signal
import subprocess
import sys
from importlib import metadata
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

    def run_job(
        job: Any, arguments: dict[str, Any], on_stage: Any, _time_limit_s: float
    ) -> dict[str, Any]:
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
        (lambda hole: photo(hole), "looks like a picture, not a mask"),
    ],
    ids=["sizes", "all hole", "a photo"],
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
        ("in/photo.png/filled.png", "cannot write"),
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
        ("empty.onnx", "is empty (0 bytes)"),
        ("text.onnx", "is not an ONNX file"),
        ("folder.onnx", "Is a directory"),
        ("file.mlpackage", "is not a Core ML package"),
        ("empty.tflite", "is empty (0 bytes)"),
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
def test_soft_mask_states_the_threshold(files: list[Path], capsys: Capture) -> None:
    hole = np.zeros((64, 64), np.uint8)
    hole[8:16, 8:40], hole[16, 8:40], hole[17, 8:40] = 255, 128, 127
    save_image(files[1], hole)
    assert main(options(files)) == 0
    assert "mask.png has 64 grey pixels" in (notes := capsys.readouterr().err)
    assert "white on black, its edges from 128 of 255" in notes
    changed = (pixels(files[2]) != pixels(files[0])).any(axis=2)
    assert changed[hole >= 128].mean() > 0.9
    assert not changed[hole < 128].any()


@pytest.mark.usefixtures("no_worker")
@pytest.mark.parametrize(
    ("colour", "added", "said"),
    [
        ((255, 0, 0), [], "(255, 0, 0) on black"),
        ((128, 0, 0), [], "(128, 0, 0) on black"),
        ((1, 1, 1), [], "grey 1 on black"),
        ((0, 0, 9), ["--mask-threshold", "9"], "at least 9 of 255 is hole"),
        ((9, 0, 200), ["--mask-channel", "blue"], "blue channel: grey 200 on black"),
    ],
)
def test_masks_that_are_not_white(
    colour: tuple[int, ...], added: list[str], said: str, files: list[Path], capsys: Capture
) -> None:
    hole = pixels(files[1]) > 0
    save_image(files[1], (hole[..., None] * np.array(colour)).astype(np.uint8))
    assert main([*options(files), *added, "--json"]) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert told["mask"]["rule"] == said and said in captured.err
    assert told["mask"]["hole_pixels"] == hole.sum()
    changed = (pixels(files[2]) != pixels(files[0])).any(axis=2)
    assert changed[hole].mean() > 0.9 and not changed[~hole].any()


@pytest.mark.usefixtures("no_worker")
def test_inverted_mask(files: list[Path], capsys: Capture) -> None:
    assert main([*options(files), "--mask-invert"]) == 0
    assert "the hole is 94% of the photo" in capsys.readouterr().err
    known = pixels(files[1]) > 0
    assert np.array_equal(pixels(files[2])[known], pixels(files[0])[known])


@pytest.mark.parametrize(
    ("added", "said"),
    [
        (["--mask-threshold", "0"], "--mask-threshold 0; use a whole number from 1 to 255"),
        (["--mask-threshold", "256"], "--mask-threshold 256"),
        (["--mask-threshold", "half"], "--mask-threshold half"),
        (["--mask-channel", "rad"], "did you mean red?"),
        (["--mask-channel", "alpha"], "no alpha channel"),
    ],
)
def test_unusable_mask_options(
    added: list[str], said: str, files: list[Path], capsys: Capture
) -> None:
    assert said in refusal(main, [*options(files), *added], capsys)


@pytest.mark.usefixtures("no_worker")
def test_json_tells_what_was_read_and_what_is_lost(files: list[Path], capsys: Capture) -> None:
    Image.open(files[0]).save(files[0].with_suffix(".gif"), save_all=True, append_images=[
        Image.new("RGB", (64, 64))], comment=b"hello")  # fmt: skip
    files[0] = files[0].with_suffix(".gif")
    files[2] = files[2].with_suffix(".bmp")
    assert main([*options(files), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["photo"] == {
        "path": str(files[0]), "height": 64, "width": 64, "channels": 3, "bits": 8, "frames": 2,
        "frame": 1,
    }  # fmt: skip
    assert told["mask"]["hole_share"] == 1 / 16 and not told["mask"]["empty"]
    assert told["crop"] == {"top": 0, "left": 0, "height": 64, "width": 64}
    assert told["lost"] == ["the comment"]
    said = "photo.gif holds 2 pictures; the first (--frame N takes another) is taken"
    assert said in told["notes"]
    assert told["output"] == str(files[2]) and told["exit_code"] == 0


def test_an_empty_hole_is_said_loudly(files: list[Path], capsys: Capture) -> None:
    save_image(files[1], np.zeros((64, 64), np.uint8))
    assert main([*options(files), "--json"]) == 0
    captured = capsys.readouterr()
    assert "WARNING: mask.png marks no hole (all black), so NOTHING is filled" in captured.err
    told = json.loads(captured.out)
    assert told["mask"]["empty"] and told["crop"] is None
    assert any("NOTHING is filled" in note for note in told["notes"])
    assert main([*options(files), "--overwrite"]) == 0
    assert "(unchanged: the mask marks no hole)" in capsys.readouterr().out


@pytest.mark.usefixtures("no_worker")
def test_frames_of_photo_and_mask(files: list[Path], capsys: Capture) -> None:
    first, hole = pixels(files[0]), Image.open(files[1])
    files[0] = files[0].with_suffix(".tif")
    second = first[::-1]
    Image.fromarray(first).save(
        files[0], save_all=True, append_images=[Image.fromarray(np.ascontiguousarray(second))]
    )
    files[1] = files[1].with_suffix(".gif")
    Image.new("L", (64, 64)).save(files[1], save_all=True, append_images=[hole])
    assert main([*options(files), "--frame", "2", "--mask-frame", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["photo"]["frame"] == told["mask"]["frame"] == 2
    assert "photo.tif holds 2 pictures; number 2 is taken" in told["notes"]
    assert "mask.gif holds 2 pictures; number 2 is the mask" in told["notes"]
    known = np.asarray(hole) == 0
    assert told["mask"]["hole_pixels"] == (~known).sum()
    assert np.array_equal(pixels(files[2])[known], second[known])


@pytest.mark.parametrize(
    ("added", "said"),
    [
        (["--frame", "2"], "photo.png holds one picture only, and no number 2"),
        (["--mask-frame", "2"], "mask.png holds one picture only, and no number 2"),
        (["--frame", "0"], "--frame 0; use a whole number, 1 for the first picture"),
        (["--frame", "last"], "--frame last"),
        (["--mask-frame", "-1"], "--mask-frame"),
    ],
)
def test_frames_that_are_not_there(
    added: list[str], said: str, files: list[Path], capsys: Capture
) -> None:
    assert said in refusal(main, [*options(files), *added], capsys)


@pytest.mark.usefixtures("no_worker")
def test_the_folder_of_the_output_is_made(files: list[Path]) -> None:
    files[2] = files[2].parent / "new" / "deep" / "filled.png"
    assert main(options(files)) == 0
    assert pixels(files[2]).shape == (64, 64, 3)


def test_a_folder_that_cannot_be_made_is_found_before_the_work(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(fill, "run_job", lambda *_: pytest.fail("worked all the same"))
    line = refusal(main, [*map(str, files[:2]), "--output", "/proc/new/filled.png"], capsys)
    assert "cannot write /proc/new/filled.png" in line


@pytest.mark.usefixtures("no_worker")
def test_overwrite_keeps_permissions_and_links(files: list[Path]) -> None:
    real = files[2].with_name("real.png")
    real.write_text("old")
    real.chmod(0o600)
    files[2].symlink_to(real)
    assert main([*options(files), "--overwrite"]) == 0
    assert files[2].is_symlink() and files[2].readlink() == real
    assert real.stat().st_mode & 0o777 == 0o600
    assert pixels(real).shape == (64, 64, 3)
    assert sorted(file.name for file in real.parent.iterdir()) == ["filled.png", "real.png"]


# --- Streams and places --------------------------------------------------------------------------


def finished(command: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """A shell's command line, ``$RUN`` being the command."""
    code = "from rethined_export.cli.inpaint import main; raise SystemExit(main())"
    environment = {**os.environ, "RUN": shlex.join([sys.executable, "-c", code])}
    line = command.replace("$RUN", environment["RUN"])
    return subprocess.run(line, shell=True, capture_output=True, check=False, **options)


@pytest.fixture
def unchanged(files: list[Path]) -> str:
    """A command line that needs no model."""
    save_image(files[1], np.zeros((64, 64), np.uint8))
    return f"$RUN {shlex.join(options(files))}"


def test_full_standard_output(unchanged: str, files: list[Path]) -> None:
    done = finished(f"{unchanged} > /dev/full")
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    said = b"error: cannot write to standard output: No space left on device"
    assert done.stderr.splitlines()[-1] == said


def test_help_into_a_full_output() -> None:
    """argparse itself ignores what its help meets."""
    done = finished("$RUN --help > /dev/full")
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr


def test_full_standard_error(unchanged: str, files: list[Path]) -> None:
    """Notes are lost; the work is not."""
    done = finished(f"{unchanged} 2> /dev/full")
    assert done.returncode == 0
    assert done.stdout.startswith(b"saved ")
    assert np.array_equal(pixels(files[2]), pixels(files[0]))


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(closed: str, unchanged: str, files: list[Path]) -> None:
    done = finished(f"{unchanged} {closed}")
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert np.array_equal(pixels(files[2]), pixels(files[0]))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_terminals_of_another_encoding(encoding: str, unchanged: str, files: list[Path]) -> None:
    done = finished(
        unchanged.replace("filled.png", "gefüllt-Δ.png"),
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 0, done.stderr
    assert "diff.png" in done.stdout.decode(encoding)
    assert (files[2].parent / "gefüllt-Δ.png").exists()


def test_version(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    told = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert told["rethined-inpaint"] == metadata.version("rethined-export")
    assert told["torch"] == metadata.version("torch")
    assert {"onnx", "onnxruntime", "litert-torch", "ai-edge-litert", "coremltools"} <= set(told)


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
