"""Artifacts on disk and the manifests beside them."""

import hashlib
import json
import os
import shutil
import stat
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rethined_export.converters import TARGETS
from rethined_export.converters.files import package_files, weights_beside
from rethined_export.converters.reducing.types import EXACT
from rethined_export.converters.types import TensorInfo
from rethined_export.errors import UserError
from rethined_export.jobs.parent import scratch_name
from rethined_export.output import place_of, written
from rethined_export.parity.gates import Gate
from rethined_export.spec import ExportSpec, check_fields

SCHEMA_VERSION = 3
#: Bytes that are read at once.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Manifest:
    """Facts about one artifact; written beside it as ``<file name>.json``.

    Attributes:
        weights: file name of the checkpoint, or ``untrained``. derived: read off it.
        notes: what cannot be told from it.
        inputs, outputs: as the artifact takes and gives them.
        rewrites: what replaces what in the graph.
        calibrated: ``scenes`` and ``sha256`` of what activations were measured on and
            weights rounded.
        kept: layers that compute in floats, found by measurement.
        accepted: the gate it was held to, where its user consented to less than its precision's.
    """

    spec: ExportSpec
    artifact: str
    sha256: str
    bytes: int
    weights: str
    weights_sha256: str
    derived: tuple[str, ...]
    notes: tuple[str, ...]
    rewrites: tuple[str, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operators: dict[str, int]
    versions: dict[str, str]
    parity: dict[str, Any] | None = None
    calibrated: dict[str, Any] | None = None
    kept: tuple[str, ...] = ()
    accepted: dict[str, Any] | None = None
    schema_version: int = SCHEMA_VERSION
    mask_polarity: str = "1 = hole, 0 = known"

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
    except (TypeError, ValueError, UserError) as error:
        raise UserError(f"{path} is unusable ({error}); export the artifact again") from error
    if artifact.suffix != TARGETS[manifest.spec.target].suffix:
        raise UserError(
            f"{path} is the manifest of a {manifest.spec.target} artifact, not of {artifact.name}"
        )
    return manifest


def _parse(facts: dict[str, Any]) -> Manifest:
    """A manifest from its JSON object.

    Raises:
        TypeError, ValueError, UserError: something is missing, unknown or of another kind.
    """
    check_fields(Manifest, facts, "")
    spec = ExportSpec.from_dict(facts["spec"])
    tensors = {
        side: tuple(_tensor(info, f"{side}.") for info in facts[side])
        for side in ("inputs", "outputs")
    }
    lines = {name: tuple(facts[name]) for name in ("derived", "notes", "rewrites", "kept")}
    if (accepted := facts["accepted"]) is not None:
        check_fields(Gate, accepted, "accepted.")
    return Manifest(**{**facts, "spec": spec, **lines, **tensors})


def _tensor(facts: Any, where: str) -> TensorInfo:
    check_fields(TensorInfo, facts, where)
    return TensorInfo(**{**facts, "shape": tuple(facts["shape"])})


def hash_artifact(path: Path) -> str:
    """sha256 of a file and of its weights, or of a package's relative names and files, in order.

    What a system drops into a folder (``.DS_Store``) does not count.

    Raises:
        UserError: unreadable.
    """
    digest = hashlib.sha256()
    try:
        for file in _files(path):
            if file != path and path.is_dir():
                digest.update(file.relative_to(path).as_posix().encode() + b"\0")
            with file.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    digest.update(block)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file and of its weights, or of all files of a package folder."""
    return sum(file.stat().st_size for file in _files(path))


def _files(path: Path) -> list[Path]:
    """Of an artifact: one, with the file of its weights where there is one, or a package's."""
    if path.is_dir():
        return package_files(path)
    weights = weights_beside(path)
    return [path, weights] if weights.is_file() else [path]


def remove(path: Path) -> None:
    """Delete a file or a package folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def publish(finished: Path, manifest: Manifest, destination: Path) -> None:
    """Move a finished artifact and its manifest into place by renaming: no reader sees half.

    Weights that lie beside the artifact go first, and the manifest last, so that an artifact with a
    manifest is always a whole one. What they replace keeps its permissions, and where a name is a
    link, what it points to is replaced.

    Raises:
        OSError: the system refuses (no permission, disk full).
    """
    signed = manifest_path(destination)
    with written(signed) as file:
        file.write(manifest.to_json().encode())
        place_of(signed).unlink(missing_ok=True)  # its mode is the new one's by now
        beside = weights_beside(finished).is_file()
        if beside:
            _put(weights_beside(finished), weights_beside(destination))
        _put(finished, destination)
        if not beside:  # there may be those of a larger one
            weights_beside(destination).unlink(missing_ok=True)


def _put(finished: Path, destination: Path) -> None:
    """Move a file or package folder to a name, whatever file or package is there."""
    place = place_of(destination)
    half = scratch_name(place.parent, place.name)
    replaced = scratch_name(place.parent, f"{place.name}.replaced")
    elsewhere = half != finished.resolve()
    try:
        if elsewhere:
            shutil.move(finished, half)  # copied where the name is a link to another file system
        _with_modes_of(place, half)
        if place.is_dir():  # a folder cannot be renamed onto one that holds files
            place.replace(replaced)
        half.replace(place)
    finally:
        if elsewhere:
            remove(half)
        if not place.exists() and replaced.exists():
            replaced.replace(place)
        remove(replaced)


def _with_modes_of(old: Path, new: Path) -> None:
    """Give each file and folder the permissions of what it replaces, or the usual ones.

    Converters write some files for their owner only.
    """
    hidden = os.umask(0)
    os.umask(hidden)
    for path in (new, *(new.rglob("*") if new.is_dir() else ())):
        before = old / path.relative_to(new)
        mode = (0o777 if path.is_dir() else 0o666) & ~hidden
        if before.is_dir() == path.is_dir() and before.exists():
            mode = stat.S_IMODE(before.stat().st_mode)
        path.chmod(mode)


def tool_versions(target: str, precision: str = EXACT) -> dict[str, str]:
    """Versions of this tool and of what produced the artifact."""
    made = TARGETS[target]
    reducing = () if precision == EXACT else made.reducing_packages
    names = ("rethined-export", "torch", "numpy", *made.packages, *reducing)
    return {name: _version(name) for name in names}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
