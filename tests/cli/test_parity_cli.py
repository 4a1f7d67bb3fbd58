"""rethined-parity: what it refuses, and what it says of an artifact."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from commands import (
    edit_manifest,
    last_line,
    mask,
    photo,
    refusal,
)

from rethined_export import export as pipeline
from rethined_export.cli.parity import main
from tests.copies import copied

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def artifact(onnx_512: Path, tmp_path: Path) -> Path:
    return copied(onnx_512, tmp_path / "dist")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """In place of a real comparison: the jobs asked for; all are said to hold."""
    asked: list[dict[str, Any]] = []

    def run_job(job: Any, arguments: dict[str, Any], on_stage: Any) -> dict[str, Any]:
        asked.append(arguments)
        on_stage("comparing on [b]scene[/]")
        return {"passed": True, "failures": [], "scenes": [], "max_abs": 0.0,
                "peak_rss_bytes": 1}  # fmt: skip

    monkeypatch.setattr(pipeline, "run_job", run_job)
    return asked


def failure(arguments: list[object], capsys: Capture) -> str:
    """The error of a refused artifact, which the document of --json repeats."""
    assert main([*map(str, arguments), "--json"]) == 2
    captured = capsys.readouterr()
    (entry,) = json.loads(captured.out)["artifacts"]
    asked = {"target", "path", "bytes", "sha256", "seconds", "operators", "parity"}
    assert entry.keys() >= asked
    assert entry["parity"]["passed"] is None
    assert entry["exit_code"] == 2
    line = last_line(captured.err)
    assert entry["failure"] in line
    return line


# --- Refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "ARTIFACT"),
        (["a.onnx", "--image", "photo.png"], "--image and --mask go together"),
        (["a.onnx", "--ignore"], "--ignore"),
    ],
)
def test_usage(arguments: list[object], said: str, capsys: Capture) -> None:
    assert said in refusal(main, arguments, capsys)


def test_tampered_artifact(artifact: Path, capsys: Capture) -> None:
    artifact.write_bytes(artifact.read_bytes() + b"\0")
    line = failure([artifact], capsys)
    assert f"not the file {artifact.name}.json signed" in line
    assert "--ignore-hash" in line


def test_truncated_artifact_is_refused_also_without_its_hash(
    artifact: Path, capsys: Capture
) -> None:
    artifact.write_bytes(artifact.read_bytes()[:5000])
    line = failure([artifact, "--ignore-hash"], capsys)
    assert "is not an ONNX file, or is truncated" in line


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("artifact missing", "does not exist"),
        ("suffix", "expected a file ending in .onnx, .tflite, .mlpackage"),
        ("manifest missing", "no manifest at"),
        ("not JSON", "is not valid JSON"),
        ("schema", "is not a manifest of schema 3"),
        ("field", "missing: sha256"),
        ("folder", "signed"),
    ],
)
def test_unusable_artifacts(case: str, said: str, artifact: Path, capsys: Capture) -> None:
    manifest = Path(f"{artifact}.json")
    if case == "artifact missing":
        artifact.unlink()
    elif case == "suffix":
        artifact = artifact.rename(artifact.with_suffix(".pt"))
    elif case == "manifest missing":
        manifest.unlink()
    elif case == "not JSON":
        manifest.write_text("{'sha256': 1}")
    elif case == "schema":
        edit_manifest(artifact, lambda facts: facts.update(schema_version=99))
    elif case == "field":
        edit_manifest(artifact, lambda facts: facts.pop("sha256"))
    elif case == "folder":
        artifact.unlink()
        artifact.mkdir()
    assert said in failure([artifact], capsys)


def test_photo_and_mask_of_different_sizes(artifact: Path, tmp_path: Path, capsys: Capture) -> None:
    image, hole = photo(tmp_path / "photo.png"), mask(tmp_path / "mask.png", 32, 32)
    line = failure([artifact, "--image", image, "--mask", hole], capsys)
    assert "64×64" in line
    assert "32×32" in line


# --- Checkpoints ---------------------------------------------------------------------------------


def made_from(artifact: Path, checkpoint: Path, weights: Path) -> None:
    """Let the manifest say that the artifact was made from a checkpoint with these weights."""

    def change(facts: dict[str, Any]) -> None:
        facts["spec"]["checkpoint"] = str(checkpoint)
        facts["weights_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()

    edit_manifest(artifact, change)


def test_checkpoint_that_is_gone(
    artifact: Path, weights: Path, measured: list[Any], tmp_path: Path, capsys: Capture
) -> None:
    made_from(artifact, tmp_path / "gone.safetensors", weights)
    line = failure([artifact], capsys)
    assert f"cannot read checkpoint {tmp_path / 'gone.safetensors'}" in line
    assert "--checkpoint FILE" in line
    assert not measured


@pytest.mark.parametrize("override", [False, True])
def test_checkpoint_that_has_changed(
    override: bool, artifact: Path, weights: Path, measured: list[Any], capsys: Capture
) -> None:
    changed = artifact.with_name("changed.safetensors")
    changed.write_bytes(weights.read_bytes() + b" ")
    made_from(artifact, weights if override else changed, weights)
    line = failure([artifact, *(["--checkpoint", changed] if override else [])], capsys)
    assert f"{changed} is not the checkpoint {artifact.name} was made from" in line
    assert "--checkpoint FILE" in line
    assert not measured


def test_checkpoint_for_an_untrained_artifact(
    artifact: Path, weights: Path, measured: list[Any], capsys: Capture
) -> None:
    edit_manifest(artifact, lambda facts: facts["spec"].update(untrained=True))
    assert "leave --checkpoint out" in failure([artifact, "--checkpoint", weights], capsys)
    assert not measured


def test_shipped_weights_of_another_release(
    artifact: Path, measured: list[Any], capsys: Capture
) -> None:
    edit_manifest(artifact, lambda facts: facts.update(weights_sha256="0" * 64))
    line = failure([artifact], capsys)
    assert "rethined-mobile.safetensors is not the checkpoint" in line
    assert not measured


def test_moved_checkpoint_is_measured(
    artifact: Path, shipped_weights: Path, tmp_path: Path, capsys: Capture
) -> None:
    """A real comparison, on the user's photo, with weights that lie elsewhere than recorded."""
    made_from(artifact, tmp_path / "gone.safetensors", shipped_weights)
    image, hole = photo(tmp_path / "[b]my photo.png"), mask(tmp_path / "mask.png")
    options = ["--checkpoint", shipped_weights, "--image", image, "--mask", hole, "--json"]
    assert main([str(artifact), *map(str, options)]) == 0
    captured = capsys.readouterr()
    (entry,) = json.loads(captured.out)["artifacts"]
    assert entry["parity"]["passed"] is True
    assert [scene["scene"] for scene in entry["parity"]["scenes"]] == ["[b]my photo"]
    assert "comparing on [b]my photo" in captured.err


# --- Several -------------------------------------------------------------------------------------


def test_others_are_measured_when_one_is_refused(
    artifact: Path, measured: list[Any], capsys: Capture
) -> None:
    other = artifact.with_name("missing.onnx")
    assert main([str(other), str(artifact)]) == 2
    captured = capsys.readouterr()
    assert len(measured) == 1
    assert captured.out.splitlines()[1].split()[:3] == ["missing.onnx", "not", "run"]
    assert last_line(captured.err) == f"error: {other} does not exist"
