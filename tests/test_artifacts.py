"""Names, manifests and publishing."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from rethined_export.artifacts import (
    ExportSpec,
    Manifest,
    Part,
    hash_artifact,
    manifest_path,
    publish,
    read_manifest,
    remove,
    size_of,
    tensor_infos,
)
from rethined_export.errors import UserError
from rethined_export.export import Exported
from rethined_export.models.rethined import Rethined, preset_config
from rethined_export.recipes.rethined.programs import exportable

SPEC = ExportSpec("onnx", "mobile", "paper", 512, "gather", 1, None)


def manifest(spec: ExportSpec = SPEC) -> Manifest:
    inputs, outputs = tensor_infos(spec, coherence=True)
    return Manifest(
        spec=spec,
        artifact=spec.file_name(),
        sha256="a" * 64,
        bytes=1,
        weights="model.pth",
        weights_sha256="b" * 64,
        derived=("d_k = 64 (preset mobile: 32)",),
        inputs=inputs,
        outputs=outputs,
        operators={"Add": 2},
        versions={"torch": "2.11"},
        parity={"passed": True},
    )


def signed(folder: Path, text: str | None = None) -> Path:
    """An artifact of one byte with a manifest, or with a text in its place."""
    artifact = folder / SPEC.file_name()
    artifact.write_bytes(b"x")
    manifest_path(artifact).write_text(manifest().to_json() if text is None else text)
    return artifact


@pytest.mark.parametrize("coherence", [False, True])
@pytest.mark.parametrize("part", ["whole", "low", "patch"])
@pytest.mark.parametrize("k", [1, 2])
def test_manifests_tell_what_the_programs_take(coherence: bool, part: Part, k: int) -> None:
    spec = ExportSpec("onnx", "mobile", "paper", 1024, "patches", k, None, part, 10)
    config = replace(preset_config("mobile", "paper"), coherence=coherence)
    program = exportable(spec, Rethined(config).eval())
    inputs, outputs = tensor_infos(spec, coherence)
    assert {i.name: i.shape for i in inputs} == {n: x.shape for n, x in program.inputs.items()}
    assert tuple(info.name for info in outputs) == program.outputs


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "rethined-mobile-512-gather-fp32.onnx"),
        ({"target": "tflite"}, "rethined-mobile-512-gather-fp32.tflite"),
        ({"target": "coreml"}, "rethined-mobile-512-gather-fp32.mlpackage"),
        ({"checkpoint": "/a/b.pth"}, "rethined-mobile-512-gather-fp32.onnx"),
        ({"variant": "published"}, "rethined-published-untrained-mobile-512-gather-fp32.onnx"),
        ({"hr": 4096, "preset": "paper"}, "rethined-untrained-paper-4096-gather-fp32.onnx"),
        ({"top_k": 4}, "rethined-mobile-512-gather4-fp32.onnx"),
        ({"upscale": "dense"}, "rethined-mobile-512-dense-fp32.onnx"),
        (
            {"upscale": "patches", "budget": 10},
            "rethined-mobile-512-patches10-fp32.onnx",
        ),
        (
            {"upscale": "patches", "part": "low", "budget": 25, "top_k": 4},
            "rethined-mobile-512-low25k4-fp32.onnx",
        ),
        (
            {"upscale": "patches", "part": "patch", "hr": 2048},
            "rethined-mobile-2048-patch-fp32.onnx",
        ),
    ],
)
def test_file_names(changes: dict[str, Any], name: str) -> None:
    assert replace(SPEC, **changes).file_name() == name


@pytest.mark.parametrize("target", ["onnx", "tflite", "coreml"])
@pytest.mark.parametrize("upscale", ["gather", "dense"])
def test_manifest_round_trip(target: str, upscale: Any, tmp_path: Path) -> None:
    spec = replace(SPEC, target=target, upscale=upscale, checkpoint="/models/[b] x.pth")
    written = manifest(spec)
    artifact = tmp_path / spec.file_name()
    artifact.touch()
    manifest_path(artifact).write_text(written.to_json())
    assert read_manifest(artifact) == written


@pytest.mark.parametrize("done", [True, False])
def test_exported_is_json(done: bool) -> None:
    result = Exported(SPEC, Path("dist/a"), failure="broken", exit_code=1)
    if done:
        result = Exported(SPEC, Path("dist/a"), manifest(), seconds=1.0, parity={"passed": True})
    entry = json.loads(json.dumps(result.to_dict()))
    asked = {"target", "path", "bytes", "sha256", "seconds", "operators", "parity"}
    assert entry.keys() >= asked
    assert entry["parity"]["passed"] is (True if done else None)
    assert (entry["sha256"] is None) is not done


def refused(artifact: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_manifest(artifact)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_artifact_or_manifest(tmp_path: Path) -> None:
    artifact = tmp_path / SPEC.file_name()
    assert "does not exist" in refused(artifact)
    artifact.touch()
    assert f"no manifest at {manifest_path(artifact)}" in refused(artifact)
    manifest_path(artifact).mkdir()
    assert "Is a directory" in refused(artifact)


@pytest.mark.parametrize("text", ["", "{", "\x00", "{'a': 1}"])
def test_manifest_that_is_not_json(text: str, tmp_path: Path) -> None:
    assert "is not valid JSON" in refused(signed(tmp_path, text))


@pytest.mark.parametrize("text", ["[]", "null", "{}", '{"schema_version": 2}', '"text"'])
def test_manifest_of_another_schema(text: str, tmp_path: Path) -> None:
    assert "is not a manifest of schema 1" in refused(signed(tmp_path, text))


FIELDS = sorted(asdict(manifest()).keys() - {"schema_version"})


@pytest.mark.parametrize("field", FIELDS)
def test_manifest_without_a_field(field: str, tmp_path: Path) -> None:
    facts = asdict(manifest())
    del facts[field]
    assert f"missing: {field}" in refused(signed(tmp_path, json.dumps(facts)))


@pytest.mark.parametrize("field", FIELDS)
def test_manifest_with_a_field_of_another_kind(field: str, tmp_path: Path) -> None:
    facts = {**asdict(manifest()), field: 1.5}
    assert field in refused(signed(tmp_path, json.dumps(facts)))


def _set(*path: Any) -> Callable[[dict[str, Any]], None]:
    *parents, name, value = path

    def change(facts: Any) -> None:
        for parent in parents:
            facts = facts[parent]
        facts[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("extra", 1), "unknown: extra"),
        (_set("spec", "extra", 1), "unknown: spec.extra"),
        (_set("spec", "hr", "512"), "spec.hr is '512', not int"),
        (_set("spec", "checkpoint", 3), "spec.checkpoint is 3, not str or NoneType"),
        (_set("spec", "target", "tensorrt"), "spec.target 'tensorrt' is unknown"),
        (_set("spec", "preset", "huge"), "spec.preset 'huge' is unknown"),
        (_set("spec", "target", "tflite"), "is the manifest of a tflite artifact"),
        (_set("inputs", [1]), "inputs is not an object"),
    ],
)
def test_manifest_with_nonsense(
    change: Callable[[dict[str, Any]], None], said: str, tmp_path: Path
) -> None:
    facts = asdict(manifest())
    change(facts)
    assert said in refused(signed(tmp_path, json.dumps(facts)))


def test_hash_and_size_of_a_package_cover_names_and_bytes(tmp_path: Path) -> None:
    package = tmp_path / "a.mlpackage"
    (package / "Data").mkdir(parents=True)
    (package / "Data" / "weights").write_bytes(b"12345")
    (package / "Manifest.json").write_bytes(b"{}")
    before = hash_artifact(package)
    assert size_of(package) == 7
    (package / "Data" / "weights").rename(package / "Data" / "moved")
    moved = hash_artifact(package)
    (package / "Data" / "moved").write_bytes(b"12346")
    assert len({before, moved, hash_artifact(package)}) == 3


def fill(path: Path, package: bool, text: str) -> Path:
    if package:
        (path / "Data").mkdir(parents=True)
        path = path / "Data" / "weights"
    path.write_text(text)
    return path


@pytest.mark.parametrize("package", [False, True])
def test_publish_replaces_and_leaves_nothing(package: bool, tmp_path: Path) -> None:
    spec = replace(SPEC, target="coreml" if package else "onnx")
    destination = tmp_path / spec.file_name()
    kept = fill(destination, package, "old")
    manifest_path(destination).write_text("old")
    scratch = tmp_path / f".{os.getpid()}-{spec.file_name()}"
    fill(scratch, package, "new")
    publish(scratch, manifest(spec), destination)
    assert kept.read_text() == "new"
    assert read_manifest(destination) == manifest(spec)
    assert set(tmp_path.iterdir()) == {destination, manifest_path(destination)}


def test_remove_of_a_link_keeps_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    remove(tmp_path / "link")
    remove(tmp_path / "missing")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
