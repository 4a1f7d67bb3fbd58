"""Core ML: coremltools one way; Apple's runtime on macOS and our ML Program interpreter elsewhere.

Off macOS nothing executes a ``.mlpackage``, so the interpreter checks conversion, passes,
serialisation and weights, but not Apple's own numerics (see ``docs/parity.md``).
"""

import json
import platform
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rethined_export.converters.apple import ct
from rethined_export.converters.files import check_package
from rethined_export.converters.mil import MLProgram
from rethined_export.converters.types import Array, ArtifactError, Program

MINIMUM_TARGET = ct.target.iOS16


def convert(program: Program, path: Path) -> None:
    """``torch.export``, then an fp32 ML Program for iOS 16 or later."""
    exported = torch.export.export(program.module, tuple(program.inputs.values()))
    model = ct.convert(
        exported.run_decompositions({}),
        convert_to="mlprogram",
        minimum_deployment_target=MINIMUM_TARGET,
        compute_precision=ct.precision.FLOAT32,
        outputs=[ct.TensorType(name=name) for name in program.outputs],
        skip_model_load=True,
    )
    model = _named(model, list(program.inputs))
    model.author = "rethined-export"
    model.short_description = "image inpainting"
    for fields, infos in (
        (model.input_description, program.takes),
        (model.output_description, program.gives),
    ):
        for info in infos:
            shape = ", ".join(map(str, info.shape))
            fields[info.name] = f"[{shape}] {info.layout}: {info.meaning}"
    for key, value in sorted(program.metadata.items()):
        model.user_defined_metadata[key] = value
    save(model, path)


def save(model: Any, path: Path) -> None:
    """Write a package; equal input gives equal bytes."""
    model.save(str(path))
    # For another tool's debugger, and as large as the program itself.
    (path / "executorch_debug_handle_mapping.json").unlink(missing_ok=True)
    _fix_identifiers(path)


def _named(model: Any, inputs: list[str]) -> Any:
    """The model with the program's names of its inputs; torch calls them as ``forward`` does."""
    spec = model.get_spec()
    given = [feature.name for feature in spec.description.input]
    if given == inputs:
        return model
    for old, new in zip(given, inputs, strict=True):
        ct.utils.rename_feature(spec, old, new)
    return ct.models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True)


def _fix_identifiers(path: Path) -> None:
    """Replace the package's random item identifiers, so that equal input gives equal bytes.

    coremltools stamps the specification with its own version facts; those stay.
    """
    manifest_path = path / "Manifest.json"
    manifest = json.loads(manifest_path.read_text())
    entries = manifest["itemInfoEntries"]
    fixed = {
        key: str(uuid.uuid5(uuid.NAMESPACE_URL, entry["path"])).upper()
        for key, entry in entries.items()
    }
    manifest["itemInfoEntries"] = {
        fixed[key]: entry for key, entry in sorted(entries.items(), key=lambda e: e[1]["path"])
    }
    manifest["rootModelIdentifier"] = fixed[manifest["rootModelIdentifier"]]
    manifest_path.write_text(json.dumps(manifest, indent=4, sort_keys=True) + "\n")
    for spec in path.rglob("*.mlmodel"):
        proto = ct.utils.load_spec(str(path))
        spec.write_bytes(proto.SerializeToString(deterministic=True))


class _Interpreted:
    """The ML Program interpreter."""

    name = "ML Program interpreter"

    def __init__(self, path: Path) -> None:
        self._program = MLProgram(path)
        self.takes = frozenset(self._program.inputs)

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        return self._program.run(inputs)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_exception: object) -> None:
        del self._program


class _Native:
    """Apple's runtime, on the CPU in fp32 (the other compute units round to fp16)."""

    name = "Core ML"

    def __init__(self, path: Path) -> None:
        try:
            self._model = ct.models.MLModel(str(path), compute_units=ct.ComputeUnit.CPU_ONLY)
        except Exception as error:
            raise ArtifactError(f"Core ML cannot load {path}: {error}") from error
        inputs = self._model.get_spec().description.input
        self.takes = frozenset(given.name for given in inputs)

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        try:
            rows = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
            results: dict[str, Array] = self._model.predict(rows)
        except Exception as error:
            raise ArtifactError(f"Core ML cannot run it: {error}") from error
        return results

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_exception: object) -> None:
        del self._model


def load(path: Path, threads: int) -> Any:
    """Apple's runtime on macOS, the interpreter elsewhere (on ``threads`` threads).

    Raises:
        ArtifactError: not an ML Program package, truncated, or one the runtime refuses.
        UnsupportedOperatorError: an operator the interpreter does not know.
    """
    if platform.system() == "Darwin":
        check_package(path)
        return _Native(path)
    torch.set_num_threads(threads)
    return _Interpreted(path)


def count_operators(path: Path) -> Counter[str]:
    """Operators of the main function by MIL type, constants left out."""
    return MLProgram(path).count_operators()


def channels_last(_path: Path) -> frozenset[str]:
    """None: Core ML keeps torch's layout."""
    return frozenset()


def metadata(path: Path) -> dict[str, str]:
    """The facts embedded in the package."""
    check_package(path)
    try:
        spec = ct.utils.load_spec(str(path))
    except Exception as error:  # coremltools raises whatever its native reader throws
        raise ArtifactError(f"{path} is not a Core ML package, or is damaged") from error
    return dict(spec.description.metadata.userDefined)
