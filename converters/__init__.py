"""One module per target: torch program → file, and file → callable on this machine."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rethined_export.converters.reducing.types import EXACT, METHODS, ReducerModule
from rethined_export.converters.types import ArtifactError, Converter


@dataclass(frozen=True)
class Target:
    """Where a target's converter lives and what it needs.

    Attributes:
        name: as given to ``--target``; also the extra that installs its packages.
        suffix: of its artifacts.
        module: implements :class:`Converter`.
        packages: distributions whose versions the manifest records.
        precisions: that its artifacts may have. methods: of calibration.
        reducing: implements :class:`~rethined_export.converters.reducing.types.ReducerModule`.
        reducing_packages: distributions that reduced the artifact.
        integers: type of the images that an artifact takes and gives with ``--integer-io``; empty
            where it cannot.
    """

    name: str
    suffix: str
    module: str
    packages: tuple[str, ...]
    precisions: tuple[str, ...]
    methods: tuple[str, ...]
    reducing: str
    reducing_packages: tuple[str, ...] = ()
    integers: str = ""


_HERE = "rethined_export.converters"
_COMMON = (EXACT, "fp16", "int8", "int8-weights", "mixed")
TARGETS = {
    target.name: target
    for target in (
        Target(
            "onnx",
            ".onnx",
            f"{_HERE}.onnx",
            ("onnx", "onnxruntime", "onnxscript", "onnxsim"),
            (*_COMMON, "int8-dynamic"),
            METHODS,
            f"{_HERE}.reducing.onnx",
            integers="uint8",
        ),
        Target(
            "tflite",
            ".tflite",
            f"{_HERE}.tflite",
            ("litert-torch", "ai-edge-litert"),
            (*_COMMON, "int8-dynamic"),
            METHODS[:1],
            f"{_HERE}.reducing.tflite",
            ("ai-edge-quantizer",),
            integers="int8",
        ),
        Target(
            "coreml",
            ".mlpackage",
            f"{_HERE}.coreml",
            ("coremltools",),
            (*_COMMON, "palette6", "palette4"),
            METHODS[:1],
            f"{_HERE}.reducing.coreml",
        ),
    )
}


class MissingConverterError(Exception):
    """The packages of a target are not installed."""


def converter(target: str) -> Converter:
    """The converter of a target.

    Raises:
        MissingConverterError: the packages that run its artifacts cannot be imported.
    """
    with installed(target):
        return cast(Converter, importlib.import_module(TARGETS[target].module))


def reducers(target: str) -> ReducerModule:
    """What turns a target's artifacts in fp32 into ones of less precision.

    Raises:
        MissingConverterError: its packages cannot be imported.
    """
    with installed(target):
        return cast(ReducerModule, importlib.import_module(TARGETS[target].reducing))


@contextmanager
def installed(target: str) -> Iterator[None]:
    """Imports of a target's packages; those that only a conversion needs come late.

    Raises:
        MissingConverterError: one of them cannot be imported.
    """
    try:
        yield
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
