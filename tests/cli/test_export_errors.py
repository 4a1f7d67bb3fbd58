"""rethined-export: what it refuses, how it fails, and that nothing is left behind."""

import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from commands import (
    CHEAP,
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
from safetensors.torch import load_file

from rethined_export import export as pipeline
from rethined_export.cli.export import main
from rethined_export.converters import TARGETS
from rethined_export.jobs.parent import JobError
from rethined_export.models.weights import shipped

Capture = pytest.CaptureFixture[str]
NAME = "rethined-mobile-512-gather-fp32.onnx"
#: An export that takes little time, of a file that takes little room.
SMALL = ["--module", f"{Path(__file__).parents[1] / 'small_net.py'}:build",
         "--input", "image=1x3x32x32", "--input", "mask=1x1x32x32"]  # fmt: skip


# --- Options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--target", "tflit"], ["--target tflit", "did you mean tflite?", "coreml"]),
        (["--target", "ONNX"], ["--target ONNX", "did you mean onnx?"]),
        (["--preset", "mobil"], ["--preset mobil", "did you mean mobile?"]),
        (["--variant", "publish"], ["--variant publish", "did you mean published?"]),
        (["--upscale", "gathr"], ["--upscale gathr", "did you mean gather?"]),
        (["--hr", "1000"], ["--hr 1000", "not a multiple of 512", "nearest is 1024"]),
        (["--hr", "1536"], ["--hr 1536 is not supported", "nearest is 1024"]),
        (["--hr", "-512"], ["--hr -512", "nearest is 512"]),
        (["--hr", "big"], ["--hr big is not a number", "512, 1024, 2048, 4096"]),
        (["--top-k", "0"], ["--top-k 0", "from 1 to 64"]),
        (["--top-k", "65"], ["--top-k 65", "from 1 to 64"]),
        (["--top-k", "many"], ["--top-k many is not a whole number"]),
        (["--top-k", "2", "--upscale", "dense"], ["--top-k 2", "--upscale dense", "drop one"]),
        (["--hr", "8192"], ["--hr 8192 is for --upscale patches", "up to 4096"]),
        (["--hole-budget", "10%"], ["--hole-budget goes with --upscale patches", "not gather"]),
        (["--patch-program"], ["--patch-program goes with --split"]),
        (["--split"], ["--split goes with --upscale patches", "not gather"]),
        (["--upscale", "patches", "--hole-budget", "7"], ["--hole-budget 7%", "10%, 25%, 100%"]),
        (
            ["--upscale", "patches", "--variant", "published"],
            ["--upscale patches", "--variant published", "use --upscale gather"],
        ),
        (["--image", "photo.png"], ["--image and --mask go together"]),
        (["--mask", "mask.png"], ["--image and --mask go together"]),
        (["--frame", "2"], ["--frame is of an --image"]),
        (["--mask-invert"], ["the --mask options say how to read a --mask"]),
        (["--mask-frame", "2"], ["the --mask options say how to read a --mask"]),
        (["--image", "a", "--mask", "b", "--no-verify"], ["--image and --no-verify"]),
        (["--targt", "onnx"], ["--targt", "did you mean --target?"]),
        (["--target", "[red]x[/] :smile:"], ["--target [red]x[/] :smile: is unknown"]),
        (["--target", "a  b\x1b[31m"], ["--target 'a  b\\x1b[31m' is unknown"]),
    ],
)
def test_refused_options(
    options: list[str], said: list[str], tmp_path: Path, capsys: Capture
) -> None:
    line = refusal(main, [*options, "--output", tmp_path / "dist"], capsys)
    assert all(part in line for part in said), line
    assert not list(tmp_path.iterdir())


def test_json_of_a_refusal_is_one_document(capsys: Capture) -> None:
    assert main(["--target", "nothing", "--json"]) == 2
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["artifacts"] == []
    assert document["exit_code"] == 2
    assert document["failure"] in captured.err


# --- Checkpoints ---------------------------------------------------------------------------------


class Evil:
    """Unpickled, it would run code."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("owned",)


def checkpoint(tmp_path: Path, kind: str, weights: Path) -> Path:
    """One unusable checkpoint of a kind."""
    path = tmp_path / "model.pth"
    if kind == "directory":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "code":
        path.write_bytes(pickle.dumps(Evil()))
    elif kind == "code in torch.save":
        torch.save({"state_dict": Evil()}, path)
    elif kind == "other model":
        torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    elif kind == "truncated":
        torch.save(torch.nn.Linear(2, 2).state_dict(), path)
        path.write_bytes(path.read_bytes()[:200])
    elif kind == "text.safetensors":
        path = tmp_path / "model.safetensors"
        path.write_text("not tensors at all")
    elif kind in ("NaN", "Inf"):
        state = load_file(weights)
        state["generator.multihead_attention.w_qs.weight"] = torch.tensor([[float(kind)]])
        torch.save(state, path)
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "No such file"),
        ("directory", "is a directory; give a checkpoint file in it"),
        ("empty", "is empty (0 bytes)"),
        ("code", "holds no named tensors"),
        ("code in torch.save", "holds no named tensors"),
        ("other model", "not a RETHINED checkpoint"),
        ("truncated", "truncated"),
        ("text.safetensors", "text"),
        ("NaN", "generator.multihead_attention.w_qs.weight holds NaN or Inf"),
        ("Inf", "generator.multihead_attention.w_qs.weight holds NaN or Inf"),
    ],
)
def test_refused_checkpoints(
    kind: str,
    said: str,
    tmp_path: Path,
    weights: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = checkpoint(tmp_path, kind, weights)
    line = refusal(main, [*CHEAP, "--checkpoint", path, "--output", "dist"], capsys)
    assert str(path) in line
    assert said in line, line
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "dist").exists()


def test_checkpoint_of_another_preset_says_what_was_read_off(
    tmp_path: Path, weights: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "run_job", worker())
    path = tmp_path / "[b]a b[].safetensors"
    shutil.copy(weights, path)
    options = ["--checkpoint", str(path), "--preset", "paper", "--output", str(tmp_path / "dist")]
    assert main([*CHEAP, *options]) == 0
    assert "read off the checkpoint: " in capsys.readouterr().err


# --- Photo and mask to compare on ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("sizes", "64×64"),
        ("all hole", "nothing but hole"),
        ("no hole", "no hole"),
        ("truncated", "damaged or cut short"),
        ("empty", "is empty (0 bytes)"),
        ("directory", "is a directory"),
        ("text", "is not a readable image"),
    ],
)
def test_refused_photos(case: str, said: str, tmp_path: Path, capsys: Capture) -> None:
    image, hole = photo(tmp_path / "photo.png"), tmp_path / "mask.png"
    if case == "sizes":
        mask(hole, 32, 32)
    elif case in ("all hole", "no hole"):
        save_image(hole, np.full((64, 64), 255 if case == "all hole" else 0, np.uint8))
    else:
        mask(hole)
    if case == "truncated":
        image.write_bytes(image.read_bytes()[:2000])
    elif case == "empty":
        image.write_bytes(b"")
    elif case == "text":
        image.write_text("a photo, honestly")
    elif case == "directory":
        image.unlink()
        image.mkdir()
    options = ["--target", "onnx", "--hr", "512", "--image", image, "--mask", hole]
    assert said in refusal(main, [*options, "--output", tmp_path / "dist"], capsys)
    assert not (tmp_path / "dist").exists()


# --- Where it writes -----------------------------------------------------------------------------


def test_output_that_is_a_file(tmp_path: Path, capsys: Capture) -> None:
    place = tmp_path / "file"
    place.write_text("mine")
    for output in (place, place / "below"):
        assert "is not a folder" in refusal(main, [*CHEAP, "--output", output], capsys)
    assert place.read_text() == "mine"


def test_output_that_cannot_be_written(capsys: Capture) -> None:
    line = refusal(main, [*CHEAP, "--output", "/proc/rethined/dist"], capsys)
    assert "cannot write into --output /proc/rethined/dist" in line


def test_existing_artifact_is_kept(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / NAME).write_text("mine")
    line = refusal(main, [*CHEAP, "--output", tmp_path], capsys)
    assert f"{tmp_path / NAME} exists" in line
    assert "--overwrite" in line
    assert [file.name for file in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("name", [NAME, f"{NAME}.json"])
def test_folder_in_the_way_is_not_deleted(name: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / name / "precious").mkdir(parents=True)
    line = refusal(main, [*CHEAP, "--overwrite", "--output", tmp_path], capsys)
    assert f"{tmp_path / name} is a folder" in line
    assert (tmp_path / name / "precious").is_dir()


def test_folders_made_for_nothing_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "run_job", worker(onnx=JobError("broken", 1)))
    assert main([*CHEAP, "--output", str(tmp_path / "a" / "b" / "c")]) == 1
    assert not list(tmp_path.iterdir())


def test_leftovers_of_a_killed_export_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "run_job", worker())
    (tmp_path / ".rethined-export.lock").touch()
    (tmp_path / f".4194303.export-{NAME}").write_text("half")
    (tmp_path / f".{os.getpid()}.export-{NAME}.json").write_text("half")
    (tmp_path / f".1.export-{NAME}.mlpackage" / "Data").mkdir(parents=True)
    (tmp_path / ".12-mine").touch()
    assert main([*CHEAP, "--output", str(tmp_path)]) == 0
    assert {file.name for file in tmp_path.iterdir()} == {".12-mine", NAME, f"{NAME}.json"}


@pytest.mark.parametrize("target", TARGETS)
def test_disk_full(tmp_path: Path, target: str) -> None:
    """A file that grows past the limit fails to be written, as on a full disk."""
    options = [*SMALL, "--target", target, "--no-verify", "--output", tmp_path / "dist"]
    process = start("export", *options, python=limit_file_size(1 << 13))
    _, errors = process.communicate()
    assert process.returncode == 2, errors
    assert last_line(errors).startswith(f"error: {target}: ")
    assert "free some space" in last_line(errors)
    assert not list(tmp_path.iterdir())


# --- Workers that fail, without running one ------------------------------------------------------


def shipped_hash() -> str:
    """Of the weights that an export without a checkpoint is made from."""
    path = shipped("mobile", "paper")
    assert path is not None
    return hashlib.sha256(path.read_bytes()).hexdigest()


def worker(**failures: Exception) -> Any:
    """A stand-in for run_job: targets named fail, the others write one byte."""

    def run_job(job: Any, arguments: dict[str, Any], on_stage: Any) -> dict[str, Any]:
        target = arguments["spec"]["target"]
        on_stage("converting")
        if target in failures:
            Path(arguments["path"]).write_bytes(b"half")
            raise failures[target]
        if job is pipeline.verify:
            return {"passed": False, "failures": ["[b]scene[/]: off"], "max_abs": float("nan"),
                    "psnr_hole_db": 0.0, "columns": {}, "peak_rss_bytes": 1}  # fmt: skip
        Path(arguments["path"]).write_bytes(b"x")
        return {"seconds": 1.0, "operators": {"Add": 1}, "weights": "untrained", "derived": [],
                "weights_sha256": shipped_hash(), "parameters": 1, "notes": [], "calibrated": None,
                "takes": [], "gives": [], "peak_rss_bytes": 1}  # fmt: skip

    return run_job


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (JobError("its process crashed (SIGSEGV)", 1), 1),
        (JobError("operator NO_SUCH is unknown", 5), 5),
        (JobError("needs onnx", 6), 6),
        (OSError(28, "No space left on device"), 2),
    ],
)
def test_other_targets_finish_when_one_fails(
    failure: Exception, code: int, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "run_job", worker(onnx=failure))
    options = ["--hr", "512", "--no-verify", "--json", "--output", str(tmp_path)]
    assert main([*options, "--target", "onnx", "--target", "tflite"]) == code
    captured = capsys.readouterr()
    failed, made = json.loads(captured.out)["artifacts"]
    assert (failed["exit_code"], made["exit_code"]) == (code, 0)
    assert failed.keys() == made.keys()
    assert failed["failure"] in last_line(captured.err)
    assert f"saved {made['path']}" in captured.err
    stem = Path(made["path"]).name
    assert {file.name for file in tmp_path.iterdir()} == {stem, f"{stem}.json"}


def test_missed_gate_leaves_no_artifact(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "run_job", worker())
    options = ["--target", "onnx", "--hr", "512", "--json", "--output", str(tmp_path / "dist")]
    assert main(options) == 3
    captured = capsys.readouterr()
    (entry,) = json.loads(captured.out)["artifacts"]
    assert entry["parity"]["passed"] is False
    assert entry["parity"]["max_abs"] is None  # JSON has no NaN
    assert "[b]scene[/]: off" in last_line(captured.err)
    assert not list(tmp_path.iterdir())


def test_interrupt_between_stages_leaves_nothing(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "run_job", worker(onnx=KeyboardInterrupt()))
    before = signal.getsignal(signal.SIGINT)
    assert main([*CHEAP, "--output", str(tmp_path / "dist")]) == 130
    assert "interrupted" in last_line(capsys.readouterr().err)
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGINT) is before


def test_names_are_printed_as_they_are_and_quoted_in_hints(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "run_job", worker())
    folder = tmp_path / "[red]x[/]  'q\"; $(touch x) :smile:"
    assert main([*CHEAP, "--output", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"saved {folder / NAME}" in lines
    quoted = str(folder / NAME).replace("'", "'\"'\"'")
    assert f"  rethined-parity '{quoted}'" in lines


def test_table_in_a_pipe_is_neither_wrapped_nor_cut(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr(pipeline, "run_job", worker())
    assert main([*CHEAP, "--output", str(tmp_path / ("long" * 40))]) == 0
    heading, row, saved, *_ = capsys.readouterr().out.splitlines()
    assert heading.split()[:5] == ["target", "status", "size", "convert", "operators"]
    assert row.split("  ")[-1].strip() == "not run"
    assert saved.endswith(NAME)


# --- Real processes ------------------------------------------------------------------------------


def test_two_exports_into_one_folder_and_equal_bytes(tmp_path: Path, onnx_512: Path) -> None:
    """The second is refused, the first finishes, and its bytes are those of an earlier export."""
    first = start("export", *CHEAP, "--json", "--output", tmp_path)
    wait_for(first, "loading the model")
    second = start("export", *CHEAP, "--overwrite", "--output", tmp_path)
    _, errors = second.communicate()
    assert second.returncode == 2
    assert f"another export is writing into {tmp_path}" in last_line(errors)
    document, _ = first.communicate()
    assert first.returncode == 0
    (entry,) = json.loads(document)["artifacts"]
    written = (tmp_path / NAME).read_bytes()
    assert written == onnx_512.read_bytes()
    assert entry["sha256"] == hashlib.sha256(written).hexdigest()
    assert entry["bytes"] == len(written)
    assert entry["operators"]["Conv"] > 0
    assert entry["parity"]["passed"] is None
    assert entry["parity"].keys() >= {"max_abs", "mean_abs", "psnr_hole_db", "index_flips"}
    assert {file.name for file in tmp_path.iterdir()} == {NAME, f"{NAME}.json"}


@pytest.mark.parametrize(
    ("stage", "number"),
    [("converting", signal.SIGINT), ("comparing on", signal.SIGTERM)],
)
def test_interrupt_ends_the_worker_and_leaves_nothing(
    stage: str, number: signal.Signals, tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    options = ["--target", "onnx", "--hr", "512", "--output", tmp_path / "dist"]
    process = start("export", *options, env={**os.environ, "TMPDIR": str(temporary)})
    wait_for(process, stage)
    running = workers(process)
    send(process, number)
    output, errors = process.communicate()
    assert process.returncode == 130
    assert "interrupted" in last_line(errors)
    assert "Traceback" not in output + errors
    assert gone(running)
    assert not (tmp_path / "dist").exists()
    assert not list(temporary.iterdir())


def test_killed_export_takes_its_worker_with_it(tmp_path: Path) -> None:
    process = start("export", *CHEAP, "--output", tmp_path)
    wait_for(process, "loading the model")
    running = workers(process)
    process.kill()
    process.communicate()
    assert gone(running)


def test_converter_that_is_not_installed(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "onnxsim.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'onnxsim'\", name='onnxsim')"
    )
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    process = start("export", *CHEAP, "--output", tmp_path / "dist", env=environment)
    _, errors = process.communicate()
    assert process.returncode == 6
    assert "onnxsim" in last_line(errors)
    assert "rethined-export[onnx]" in last_line(errors)
    assert not (tmp_path / "dist").exists()


def test_file_in_the_working_directory_is_not_imported(tmp_path: Path) -> None:
    """The worker must not take a user's onnx.py for the package."""
    for name in ("onnx.py", "json.py", "torch.py"):
        (tmp_path / name).write_text("raise SystemExit('imported')")
    code = (
        "import sys; from rethined_export.jobs.parent import JobError, run_job\n"
        "from rethined_export.inpaint import describe\n"
        "try: run_job(describe, {'artifact': 'x.onnx'}, print)\n"
        "except JobError as error: print(error, file=sys.stderr)"
    )
    script = tmp_path / "scripts" / "run.py"
    script.parent.mkdir()
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "x.onnx" in done.stderr
    assert "imported" not in done.stderr


@pytest.mark.parametrize("options", [["--help"], ["--target", "nothing", "--json"]])
def test_reader_that_goes_away(options: list[str]) -> None:
    """As in ``rethined-export … | head -1`` when head has ended."""
    process = start("export", *options)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.wait()
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors


@pytest.mark.parametrize("command", ["export", "parity", "inpaint"])
def test_help_has_examples_and_is_quick(command: str) -> None:
    process = start(command, "--help")
    text, _ = process.communicate()
    assert process.returncode == 0
    assert f"examples:\n  rethined-{command} " in text
    assert max(map(len, text.splitlines())) <= 100


def test_no_worker_is_left_by_these_tests() -> None:
    assert not psutil.Process().children(recursive=True)
