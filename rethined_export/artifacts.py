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
from rethined_export.jobs.parent import scratch_name
from rethined_export.models.rethined import PRESETS, VARIANTS, Variant
from rethined_export.models.rethined.config import TOKENS
from rethined_export.models.weights import shipped
from rethined_export.recipes.rethined.caller import BATCH, HALO, LOW_HALO, LOW_RESOLUTION, PATCH

#: How full-resolution patches come about: all copied (``gather``), all mixed with all (``dense``),
#: or only those of the hole computed (``patches``).
Upscale = Literal["gather", "dense", "patches"]
UPSCALES: tuple[Upscale, ...] = ("gather", "dense", "patches")
#: A whole artifact takes image and mask and gives the image; ``low`` and ``patch`` are the programs
#: of a split pair (:mod:`rethined_export.recipes.rethined.caller`).
Part = Literal["whole", "low", "patch"]
PARTS: tuple[Part, ...] = ("whole", "low", "patch")
SCHEMA_VERSION = 1
PRECISION = "fp32"


@dataclass(frozen=True)
class ExportSpec:
    """What to export; the same spec and weights give the same bytes.

    Attributes:
        checkpoint: file of the weights; None for the shipped or, where none are, untrained ones.
        part: the whole, or one program of a split pair; other than whole with ``patches`` only.
        budget: hole tokens a run can fill, in percent of all; ``patches`` only.
    """

    target: str
    preset: str
    variant: Variant
    hr: int
    upscale: Upscale
    top_k: int
    checkpoint: str | None
    part: Part = "whole"
    budget: int = 100

    @property
    def untrained(self) -> bool:
        """Neither a checkpoint nor shipped weights: a stand-in that does not inpaint."""
        return self.checkpoint is None and shipped(self.preset, self.variant) is None

    @property
    def places(self) -> int:
        """K, the hole tokens a run can fill."""
        return -(-TOKENS * self.budget // 100)

    def stem(self) -> str:
        """``<model>-<preset>-<hr>-<upscale>-<precision>``; the model says if it is untrained."""
        model = "rethined"
        if self.variant == "published":
            model += "-published"
        if self.untrained:
            model += "-untrained"
        return f"{model}-{self.preset}-{self.hr}-{self.form()}-{PRECISION}"

    def form(self) -> str:
        """``gather``, ``gather4``, ``dense``, ``patches10``, ``low10``, ``patch``, ``patchk4``."""
        if self.upscale != "patches":
            return self.upscale + (str(self.top_k) if self.top_k > 1 else "")
        ranks = f"k{self.top_k}" if self.top_k > 1 else ""
        name = "patches" if self.part == "whole" else self.part
        return name + ("" if self.part == "patch" else str(self.budget)) + ranks

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
        "part": PARTS,
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


_Infos = tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]


def tensor_infos(spec: ExportSpec, coherence: bool) -> _Infos:
    """Inputs and outputs of an artifact of this spec, in its own layout.

    Args:
        coherence: the network has a coherence layer, which the low half of a pair has an input for.
    """
    if spec.part == "low":
        return _low_infos(spec, coherence)
    return _whole_infos(spec) if spec.part == "whole" else _patch_infos(spec)


_MASK = "1 = hole to fill, 0 = known"


def _image(spec: ExportSpec, name: str, channels: int, side: int, meaning: str) -> TensorInfo:
    if spec.target == "tflite":
        return TensorInfo(name, (1, side, side, channels), "NHWC", "float32", meaning)
    return TensorInfo(name, (1, channels, side, side), "NCHW", "float32", meaning)


def _whole_infos(spec: ExportSpec) -> _Infos:
    inputs = (
        _image(spec, "image", 3, spec.hr, "RGB in [0, 1]"),
        _image(spec, "mask", 1, spec.hr, _MASK),
    )
    said = "RGB, about [0, 1]; clip before rounding to 8 bits"
    outputs = [_image(spec, "output", 3, spec.hr, said)]
    if spec.upscale != "dense":
        shape = (1, TOKENS, spec.top_k)
        indices = "patch each token copies; rows of known tokens carry no meaning"
        outputs.append(TensorInfo("indices", shape, "NTK", "int32", indices))
        outputs.append(TensorInfo("scores", shape, "NTK", "float32", "their attention scores"))
    if spec.upscale == "patches":
        over = "hole tokens over the budget, left as they came"
        outputs.append(TensorInfo("left", (1,), "N", "int32", over))
    return inputs, tuple(outputs)


def _low_infos(spec: ExportSpec, coherence: bool) -> _Infos:
    listed, ranks = spec.places, spec.top_k
    inputs = [
        _image(spec, "image", 3, LOW_RESOLUTION, "RGB in [0, 1]"),
        _image(spec, "mask", 1, LOW_RESOLUTION, _MASK),
        TensorInfo("tokens", (listed,), "K", "int32", "hole tokens; spare places repeat any"),
    ]
    if coherence:
        place = f"place of each in tokens, else {listed}"
        inputs.append(TensorInfo("rows", (TOKENS,), "N", "int32", place))
    outputs = (
        TensorInfo("low", (listed, PATCH, 3, PATCH), "KHCW", "float32", "filled patches"),
        _image(spec, "composite", 3, LOW_RESOLUTION, "coarse image in the hole, photo elsewhere"),
        TensorInfo("indices", (1, listed, ranks), "NTK", "int32", "token each one copies"),
        TensorInfo("scores", (1, listed, ranks), "NTK", "float32", "their attention scores"),
    )
    return tuple(inputs), outputs


def _patch_infos(spec: ExportSpec) -> _Infos:
    size, sources = PATCH * spec.hr // LOW_RESOLUTION, BATCH * spec.top_k
    window, low = size + 2 * HALO, PATCH + 2 * LOW_HALO
    filled = "RGB at any scale, hole filled with the low image enlarged"
    inputs = [
        TensorInfo("sources", (sources, window, 3, window), "BHCW", "float32", filled),
        TensorInfo("low_targets", (BATCH, low, 3, low), "BHCW", "float32", "low image, same scale"),
    ]
    if spec.top_k > 1:
        inputs.append(TensorInfo("weights", (BATCH, spec.top_k), "BK", "float32", "sum to 1"))
    said = "RGB at the scale of the inputs; clip before rounding"
    return tuple(inputs), (TensorInfo("patches", (BATCH, size, 3, size), "BHCW", "float32", said),)


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
