"""One module per target: torch program → file, and file → callable on this machine."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rethined_export.converters.types import ArtifactError, Converter


@dataclass(frozen=True)
class Target:
    """Where a target's converter lives and what it needs.

    Attributes:
        name: as given to ``--target``; also the extra that installs its packages.
        suffix: of its artifacts.
        module: implements :class:`Converter`.
        packages: distributions whose versions the manifest records.
    """

    name: str
    suffix: str
    module: str
    packages: tuple[str, ...]


_HERE = "rethined_export.converters"
TARGETS = {
    target.name: target
    for target in (
        Target("onnx", ".onnx", f"{_HERE}.onnx", ("onnx", "onnxruntime", "onnxscript", "onnxsim")),
        Target("tflite", ".tflite", f"{_HERE}.tflite", ("litert-torch", "ai-edge-litert")),
        Target("coreml", ".mlpackage", f"{_HERE}.coreml", ("coremltools",)),
    )
}


class MissingConverterError(Exception):
    """The packages of a target are not installed."""


def converter(target: str) -> Converter:
    """The converter of a target.

    Raises:
        MissingConverterError: its packages cannot be imported.
    """
    try:
        return cast(Converter, importlib.import_module(TARGETS[target].module))
    except ImportError as error:
        raise MissingConverterError(
            f"target {target} needs {error.name or error}, which is not installed; "
            f"run: pip install 'rethined-export[{target}]'"
        ) from error


def target_of(path: Path) -> str:
    """The target an artifact's suffix names.

    Raises:
        ArtifactError: no target writes such files.
    """
    for target in TARGETS.values():
        if path.suffix == target.suffix:
            return target.name
    suffixes = ", ".join(target.suffix for target in TARGETS.values())
    raise ArtifactError(f"{path} is not an artifact; expected a file ending in {suffixes}")
