"""Names, manifests and publishing."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from rethined_export.artifacts import (
    Manifest,
    hash_artifact,
    manifest_path,
    publish,
    read_manifest,
    remove,
    size_of,
)
from rethined_export.converters.files import weights_beside
from rethined_export.converters.types import TensorInfo
from rethined_export.errors import UserError
from rethined_export.export import Exported
from rethined_export.models.rethined import Rethined, preset_config
from rethined_export.recipes.rethined import RECIPE
from rethined_export.recipes.rethined.options import RethinedOptions
from rethined_export.spec import ExportSpec

OPTIONS = RethinedOptions(hr=512)
SPEC = ExportSpec("rethined", "onnx", OPTIONS)


def manifest(spec: ExportSpec = SPEC) -> Manifest:
    info = TensorInfo("image", (1, 3, 512, 512), "NCHW", "float32", "RGB in [0, 1]")
    return Manifest(
        spec=spec,
        artifact=spec.file_name(),
        sha256="a" * 64,
        bytes=1,
        weights="model.pth",
        weights_sha256="b" * 64,
        derived=("d_k = 64 (preset mobile: 32)",),
        notes=("the file does not tell the fork",),
        rewrites=("fold -> reshape",),
        inputs=(info,),
        outputs=(replace(info, name="output"),),
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
@pytest.mark.parametrize("part", ["whole", "low", "choose", "patch"])
@pytest.mark.parametrize("k", [1, 2])
def test_programs_tell_what_they_take(coherence: bool, part: str, k: int) -> None:
    options = RethinedOptions(hr=1024, upscale="patches", top_k=k, split=part != "whole")
    config = replace(preset_config("mobile", "paper"), coherence=coherence)
    program = RECIPE.program(options, Rethined(config).eval(), part)
    shapes = {info.name: info.shape for info in program.takes}
    assert shapes == {name: tuple(x.shape) for name, x in program.inputs.items()}


@pytest.mark.parametrize(
    ("options", "changes", "name"),
    [
        ({}, {}, "rethined-mobile-512-gather-fp32.onnx"),
        ({}, {"target": "tflite"}, "rethined-mobile-512-gather-fp32.tflite"),
        ({}, {"target": "coreml"}, "rethined-mobile-512-gather-fp32.mlpackage"),
        ({}, {"checkpoint": "/a/b.pth"}, "rethined-mobile-512-gather-fp32.onnx"),
        ({}, {"untrained": True}, "rethined-untrained-mobile-512-gather-fp32.onnx"),
        (
            {"variant": "published"},
            {},
            "rethined-published-untrained-mobile-512-gather-fp32.onnx",
        ),
        ({"hr": 4096, "preset": "paper"}, {}, "rethined-untrained-paper-4096-gather-fp32.onnx"),
        ({"top_k": 4}, {}, "rethined-mobile-512-gather4-fp32.onnx"),
        ({"upscale": "dense"}, {}, "rethined-mobile-512-dense-fp32.onnx"),
        (
            {"upscale": "patches", "hole_budget": 10},
            {},
            "rethined-mobile-512-patches10-fp32.onnx",
        ),
        (
            {"upscale": "patches", "split": True, "hole_budget": 25, "top_k": 4},
            {"part": "low"},
            "rethined-mobile-512-low25k4-fp32.onnx",
        ),
        (
            {"upscale": "patches", "split": True, "hole_budget": 25, "top_k": 4},
            {"part": "choose"},
            "rethined-mobile-512-choose25k4-fp32.onnx",
        ),
        (
            {"upscale": "patches", "split": True, "patch_program": True, "hr": 2048},
            {"part": "patch"},
            "rethined-mobile-2048-patch-fp32.onnx",
        ),
    ],
)
def test_file_names(options: dict[str, Any], changes: dict[str, Any], name: str) -> None:
    assert replace(SPEC, options=replace(OPTIONS, **options), **changes).file_name() == name


@pytest.mark.parametrize("target", ["onnx", "tflite", "coreml"])
@pytest.mark.parametrize("upscale", ["gather", "dense"])
def test_manifest_round_trip(target: str, upscale: str, tmp_path: Path) -> None:
    options = replace(OPTIONS, upscale=upscale)
    spec = replace(SPEC, target=target, options=options, checkpoint="/models/[b] x.pth")
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


@pytest.mark.parametrize("text", ["[]", "null", "{}", '{"schema_version": 1}', '"text"'])
def test_manifest_of_another_schema(text: str, tmp_path: Path) -> None:
    assert "is not a manifest of schema 3" in refused(signed(tmp_path, text))


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
        (_set("spec", "options", "hr", "512"), "spec.options.hr is '512', not int"),
        (_set("spec", "checkpoint", 3), "spec.checkpoint is 3, not str or NoneType"),
        (_set("spec", "target", "tensorrt"), "spec.target 'tensorrt' is unknown"),
        (_set("spec", "options", "preset", "huge"), "--preset huge is unknown"),
        (_set("spec", "model", "lame"), "spec.model 'lame' is unknown"),
        (_set("spec", "part", "middle"), "spec.part 'middle' is unknown"),
        (_set("spec", "target", "tflite"), "is the manifest of a tflite artifact"),
        (_set("inputs", [1]), "inputs is not an object"),
        (_set("derived", [1]), "derived is [1], not list"),
        (_set("operators", {"Add": "two"}), "operators is {'Add': 'two'}, not dict"),
        (_set("spec", "options", "hr", 7), "--hr 7 is not a multiple of 512"),
        (_set("spec", "options", "top_k", -1), "--top-k -1 must be from 1 to 64"),
        (_set("spec", "options", "least_mass", 101), "--least-mass 101"),
        (_set("spec", "options", "preset", "a\nb\x1b"), r"--preset 'a\nb\x1b' is unknown"),
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
    scratch = tmp_path / f".{os.getpid()}.export-{spec.file_name()}"
    fill(scratch, package, "new")
    publish(scratch, manifest(spec), destination)
    assert kept.read_text() == "new"
    assert read_manifest(destination) == manifest(spec)
    assert set(tmp_path.iterdir()) == {destination, manifest_path(destination)}


def test_publish_puts_weights_beside_and_takes_old_ones_away(tmp_path: Path) -> None:
    destination, scratch = tmp_path / SPEC.file_name(), tmp_path / "scratch"
    for text in ("first", "second"):
        scratch.mkdir()
        (scratch / destination.name).write_text(text)
        weights_beside(scratch / destination.name).write_text(f"weights of the {text}")
        publish(scratch / destination.name, manifest(), destination)
        assert destination.read_text() == text
        assert weights_beside(destination).read_text() == f"weights of the {text}"
        assert not list(scratch.iterdir())
        scratch.rmdir()
    scratch.write_text("without")
    publish(scratch, manifest(), destination)
    assert set(tmp_path.iterdir()) == {destination, manifest_path(destination)}


def modes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): oct(path.stat().st_mode & 0o777)
        for path in (folder, *folder.rglob("*"))
    }


@pytest.mark.parametrize("package", [False, True])
@pytest.mark.parametrize("linked", [False, True])
def test_publish_keeps_permissions_and_links(package: bool, linked: bool, tmp_path: Path) -> None:
    spec = replace(SPEC, target="coreml" if package else "onnx")
    output, store = tmp_path / "dist", tmp_path / "store"
    output.mkdir()
    store.mkdir()
    destination = output / spec.file_name()
    real = store / "v1" if linked else destination
    signed = store / "v1.json" if linked else manifest_path(destination)
    kept = fill(real, package, "old")
    signed.write_text("old")
    for path, mode in ((kept, 0o640), (signed, 0o600), *([(real, 0o750)] if package else [])):
        path.chmod(mode)
    before = modes(real), signed.stat().st_mode
    if linked:
        destination.symlink_to(real)
        manifest_path(destination).symlink_to(signed)
    scratch = output / f".{os.getpid()}.export-{spec.file_name()}"
    fill(scratch, package, "new").chmod(0o600)
    publish(scratch, manifest(spec), destination)
    assert destination.is_symlink() == manifest_path(destination).is_symlink() == linked
    assert kept.read_text() == "new" and read_manifest(destination) == manifest(spec)
    assert (modes(real), signed.stat().st_mode) == before
    assert set(output.iterdir()) - {scratch} == {destination, manifest_path(destination)}
    assert set(store.iterdir()) == ({real, signed} if linked else set())


@pytest.mark.parametrize("package", [False, True])
def test_new_artifacts_have_the_usual_permissions(package: bool, tmp_path: Path) -> None:
    """Also where a converter wrote them for their owner only."""
    scratch = tmp_path / f".{os.getpid()}.export-{SPEC.file_name()}"
    fill(scratch, package, "new").chmod(0o600)
    scratch.chmod(0o700)
    publish(scratch, manifest(), tmp_path / SPEC.file_name())
    (tmp_path / "usual").mkdir()
    (tmp_path / "usual" / "file").touch()
    folder, file = (oct((tmp_path / n).stat().st_mode & 0o777) for n in ("usual", "usual/file"))
    made = modes(tmp_path / SPEC.file_name())
    expected = {".": folder, "Data": folder, "Data/weights": file} if package else {".": file}
    assert made == expected


def test_what_cannot_be_put_in_place_leaves_the_old_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = tmp_path / "a.mlpackage"
    kept = fill(destination, True, "old")
    scratch = tmp_path / f".{os.getpid()}.export-a.mlpackage"
    fill(scratch, True, "new")
    really = Path.replace

    def full(path: Path, target: Path) -> Path:
        if path == scratch:
            raise OSError("disk full")
        return really(path, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        publish(scratch, manifest(), destination)
    assert kept.read_text() == "old"
    assert set(tmp_path.iterdir()) == {destination, scratch}


def test_remove_of_a_link_keeps_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    remove(tmp_path / "link")
    remove(tmp_path / "missing")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
