"""Artifacts of guest models to break: a few channels wide, and whole by the command line."""

from pathlib import Path

import onnx

from rethined_export.cli import export as export_cli
from tests.mutations.test_onnx import Mutation


def whole_artifact(name: str, folder: Path, *options: str) -> Path:
    """An ONNX artifact of the stand-in, with its manifest, not compared yet."""
    given = ["--model", name, "--untrained", "--target", "onnx", "--no-verify", *options]
    assert export_cli.main([*given, "--output", str(folder)]) == 0
    [artifact] = folder.glob("*.onnx")
    return artifact


def broken(artifact: Path, mutation: Mutation, folder: Path) -> Path:
    """A changed copy of an artifact, in another folder, with its manifest if it has one."""
    model = onnx.load(artifact)
    mutation(model)
    copy, manifest = folder / artifact.name, artifact.with_name(artifact.name + ".json")
    onnx.save(model, copy)
    if manifest.exists():
        copy.with_name(manifest.name).write_bytes(manifest.read_bytes())
    return copy
