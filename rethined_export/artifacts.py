"""Artifacts on disk and the manifests beside them."""

import hashlib
import json
import shutil
from collections.abc import Collection
from dataclasses import asdict, dataclass, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from rethined_export.converters import TARGETS
from rethined_export.errors import UserError
from rethined_export.jobs import scratch_name
from rethined_export.models.rethined import PRESETS, VARIANTS, Variant
from rethined_export.rewrite.graph import UPSCALES, Upscale

SCHEMA_VERSION = 1
PRECISION = "fp32"


@dataclass(frozen=True)
class ExportSpec:
    """What to export; the same spec and weights give the same bytes."""

    target: str
    preset: str
    variant: Variant
    hr: int
    upscale: Upscale
    top_k: int
    checkpoint: str | None

    def stem(self) -> str:
        """``<model>-<preset>-<hr>-<upscale>-<precision>``; the model says if it is untrained."""
        model = "rethined"
        if self.variant == "published":
            model += "-published"
        if self.checkpoint is None:
            model += "-untrained"
        ranks = str(self.top_k) if self.upscale == "gather" and self.top_k > 1 else ""
        return f"{model}-{self.preset}-{self.hr}-{self.upscale}{ranks}-{PRECISION}"

    def file_name(self) -> str:
        """Name of the artifact."""
        return self.stem() + TARGETS[self.target].suffix


@dataclass(frozen=True)
class TensorInfo:
    """One input or output as the artifact takes or gives it."""

    name: str
    shape: tuple[int, ...]
    layout: str
    dtype: str
    meaning: str


@dataclass(frozen=True)
class Manifest:
    """Facts about one artifact; written beside it as ``<file name>.json``."""

    spec: ExportSpec
    artifact: str
    sha256: str
    bytes: int
    weights: str
    weights_sha256: str
    derived: tuple[str, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operators: dict[str, int]
    versions: dict[str, str]
    parity: dict[str, Any] | None = None
    schema_version: int = SCHEMA_VERSION
    mask_polarity: str = "1 = hole, 0 = known"
    precision: str = PRECISION

    def to_json(self) -> str:
        """The manifest's text, keys sorted."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"


def manifest_path(artifact: Path) -> Path:
    """Where an artifact's manifest lies."""
    return artifact.with_name(artifact.name + ".json")


def read_manifest(artifact: Path) -> Manifest:
    """Read the manifest beside an artifact.

    Raises:
        UserError: the artifact or its manifest is missing or unreadable, or from another schema.
    """
    if not artifact.exists():
        raise UserError(f"{artifact} does not exist")
    path = manifest_path(artifact)
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"no manifest at {path} ({error.strerror}); an artifact is checked against the "
            "manifest that rethined-export wrote beside it"
        ) from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON; export the artifact again") from error
    if not isinstance(facts, dict) or facts.get("schema_version") != SCHEMA_VERSION:
        raise UserError(f"{path} is not a manifest of schema {SCHEMA_VERSION}; export again")
    try:
        manifest = _parse(facts)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} is unusable ({error}); export the artifact again") from error
    if artifact.suffix != TARGETS[manifest.spec.target].suffix:
        raise UserError(
            f"{path} is the manifest of a {manifest.spec.target} artifact, not of {artifact.name}"
        )
    return manifest


def _parse(facts: dict[str, Any]) -> Manifest:
    """A manifest from its JSON object.

    Raises:
        TypeError, ValueError: something is missing, unknown or of another kind.
    """
    _check_fields(Manifest, facts, "")
    _check_fields(ExportSpec, facts["spec"], "spec.")
    tensors = {
        side: tuple(_tensor(info, f"{side}.") for info in facts[side])
        for side in ("inputs", "outputs")
    }
    spec = ExportSpec(**facts["spec"])
    known: dict[str, Collection[str]] = {
        "target": TARGETS,
        "preset": PRESETS,
        "variant": VARIANTS,
        "upscale": UPSCALES,
    }
    for field, names in known.items():
        if getattr(spec, field) not in names:
            raise ValueError(f"spec.{field} {getattr(spec, field)!r} is unknown")
    return Manifest(**{**facts, "spec": spec, "derived": tuple(facts["derived"]), **tensors})


def _tensor(facts: Any, where: str) -> TensorInfo:
    _check_fields(TensorInfo, facts, where)
    return TensorInfo(**{**facts, "shape": tuple(facts["shape"])})


def _check_fields(kind: type[Any], facts: Any, where: str) -> None:
    """Every field of a dataclass is there, of the kind JSON gives it, and no other."""
    if not isinstance(facts, dict):
        raise TypeError(f"{where.rstrip('.')} is not an object")
    expected = get_type_hints(kind)
    if missing := sorted(expected.keys() - facts.keys()):
        raise ValueError(f"missing: {', '.join(where + name for name in missing)}")
    if unknown := sorted(facts.keys() - expected.keys()):
        raise ValueError(f"unknown: {', '.join(where + name for name in unknown)}")
    for name, hint in expected.items():
        allowed = _json_kinds(hint)
        if type(facts[name]) not in allowed:
            wanted = " or ".join(known.__name__ for known in allowed)
            raise TypeError(f"{where}{name} is {facts[name]!r:.50}, not {wanted}")


def _json_kinds(hint: Any) -> tuple[type, ...]:
    """The Python types that ``json.loads`` may give for a field's annotation."""
    if isinstance(hint, UnionType):
        return tuple(kind for part in get_args(hint) for kind in _json_kinds(part))
    origin = get_origin(hint) or hint
    if origin is tuple:
        return (list,)
    if origin is Literal:
        return (str,)
    return (dict,) if is_dataclass(origin) else (origin,)


def tensor_infos(spec: ExportSpec) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    """Inputs and outputs of an artifact of this spec, in its own layout."""
    nhwc = spec.target == "tflite"
    layout = "NHWC" if nhwc else "NCHW"

    def image(name: str, channels: int, meaning: str) -> TensorInfo:
        side = spec.hr
        shape = (1, side, side, channels) if nhwc else (1, channels, side, side)
        return TensorInfo(name, shape, layout, "float32", meaning)

    inputs = (
        image("image", 3, "RGB in [0, 1]"),
        image("mask", 1, "1 = hole to fill, 0 = known"),
    )
    outputs = [image("output", 3, "RGB, about [0, 1]; clip before rounding to 8 bits")]
    if spec.upscale == "gather":
        shape = (1, 4096, spec.top_k)
        indices = "patch each token copies; rows of known tokens carry no meaning"
        outputs.append(TensorInfo("indices", shape, "NTK", "int32", indices))
        outputs.append(TensorInfo("scores", shape, "NTK", "float32", "their attention scores"))
    return inputs, tuple(outputs)


def hash_artifact(path: Path) -> str:
    """sha256 of a file, or of every relative name and file of a package folder, in order.

    Raises:
        UserError: unreadable.
    """
    digest = hashlib.sha256()
    try:
        if path.is_file():
            digest.update(path.read_bytes())
            return digest.hexdigest()
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
            digest.update(file.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file or of all files of a package folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def remove(path: Path) -> None:
    """Delete a file or a package folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def publish(finished: Path, manifest: Manifest, destination: Path) -> None:
    """Move a finished artifact and its manifest into place by renaming: no reader sees half.

    The manifest goes last, so that an artifact with a manifest is always a whole one.
    """
    signed = manifest_path(destination)
    written = manifest_path(finished)
    replaced = scratch_name(destination.parent, f"{destination.name}.replaced")
    written.write_text(manifest.to_json(), encoding="utf-8")
    remove(signed)
    if destination.is_dir():  # a folder cannot be renamed onto one that holds files
        destination.replace(replaced)
    finished.replace(destination)
    written.replace(signed)
    remove(replaced)


def tool_versions(target: str) -> dict[str, str]:
    """Versions of this tool and of what produced the artifact."""
    names = ("rethined-export", "torch", "numpy", *TARGETS[target].packages)
    return {name: _version(name) for name in names}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
