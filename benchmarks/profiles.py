"""Device profiles: one TOML file each, shipped or the user's own."""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rethined_export.converters import TARGETS
from rethined_export.errors import UserError

SHIPPED = Path(__file__).parent / "devices"
KINDS = ("host", "arm64-emulator", "browser", "webgpu", "adb", "apple")


@dataclass(frozen=True)
class Cores:
    """Cores of one kind.

    Attributes:
        name: of the design. count: how many. ghz: highest clock.
    """

    name: str
    count: int
    ghz: float


@dataclass(frozen=True)
class Profile:
    """What is known of a device.

    Attributes:
        id: file name without suffix, as ``--device`` takes it.
        name: as its maker calls it.
        kind: how it is reached; one of ``KINDS``.
        reached: the same in words, for the user.
        formats: targets whose artifacts it runs.
        soc: system on chip. cores: strongest first. accelerators: besides the CPU.
        memory_gb_s: bandwidth of its memory in GB/s.
        model: what ``ro.product.model`` says of an ``adb`` device; the type of an ``apple`` one
            that is attached, as coremltools writes it.
        sources: where each figure comes from, by field.
    """

    id: str
    name: str
    kind: str
    reached: str
    formats: tuple[str, ...]
    soc: str = ""
    cores: tuple[Cores, ...] = ()
    accelerators: tuple[str, ...] = ()
    memory_gb_s: float | None = None
    model: str = ""
    sources: tuple[tuple[str, str], ...] = ()


#: Figures that must name their source.
_SOURCED = ("soc", "cores", "accelerators", "memory_gb_s")


def load_profiles(folder: Path | None = None) -> dict[str, Profile]:
    """All profiles by id; a user's own folder adds to the shipped ones and overrides them.

    Raises:
        UserError: a file does not follow the schema, or the folder has none.
    """
    paths = sorted(SHIPPED.glob("*.toml"))
    if folder is not None:
        own = sorted(folder.glob("*.toml"))
        if not own:
            raise UserError(f"{folder} holds no device profile (*.toml)")
        paths += own
    return {path.stem: read_profile(path) for path in paths}


def read_profile(path: Path) -> Profile:
    """Read and check one profile.

    Raises:
        UserError: unreadable, or a field unknown, missing, of the wrong type, or without source.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"cannot read device profile {path}: {error}") from error
    known = {entry.name for entry in fields(Profile)} - {"id"}
    if unknown := sorted(document.keys() - known):
        raise UserError(f"{path}: unknown {', '.join(unknown)} (known: {', '.join(sorted(known))})")
    for name in ("name", "kind", "reached", "formats"):
        if name not in document:
            raise UserError(f"{path}: {name} missing")
    _check_types(path, document)
    sources = document.get("sources", {})
    for name in _SOURCED:
        if name in document and name not in sources:
            raise UserError(f"{path}: {name} has no source; add it under [sources]")
    return Profile(
        id=path.stem,
        name=document["name"],
        kind=document["kind"],
        reached=document["reached"],
        formats=tuple(document["formats"]),
        soc=document.get("soc", ""),
        cores=tuple(_cores(path, entry) for entry in document.get("cores", [])),
        accelerators=tuple(document.get("accelerators", [])),
        memory_gb_s=document.get("memory_gb_s"),
        model=document.get("model", ""),
        sources=tuple(sources.items()),
    )


def _check_types(path: Path, document: dict[str, Any]) -> None:
    for name in ("name", "kind", "reached", "soc", "model"):
        if not isinstance(document.get(name, ""), str):
            raise UserError(f"{path}: {name} = {document[name]!r}; use text")
    for name in ("formats", "accelerators"):
        value = document.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UserError(f"{path}: {name} = {value!r}; use a list of texts")
    if document["kind"] not in KINDS:
        raise UserError(f"{path}: kind = {document['kind']!r}; use one of {', '.join(KINDS)}")
    if strange := sorted(set(document["formats"]) - set(TARGETS)):
        raise UserError(f"{path}: formats has {', '.join(strange)} (known: {', '.join(TARGETS)})")
    bandwidth = document.get("memory_gb_s")
    if bandwidth is not None and not _positive(bandwidth):
        raise UserError(f"{path}: memory_gb_s = {bandwidth!r}; use a positive number")
    for name, kind in (("cores", list), ("sources", dict)):
        if not isinstance(document.get(name, kind()), kind):
            raise UserError(f"{path}: {name} is not a {'table' if kind is dict else 'list'}")


def _cores(path: Path, entry: Any) -> Cores:
    wanted = {"name", "count", "ghz"}
    if not isinstance(entry, dict) or entry.keys() != wanted:
        raise UserError(f"{path}: each of [[cores]] takes {', '.join(sorted(wanted))}")
    if not isinstance(entry["count"], int) or not (
        _positive(entry["count"]) and _positive(entry["ghz"])
    ):
        raise UserError(f"{path}: cores {entry['name']}: count and ghz must be positive numbers")
    return Cores(str(entry["name"]), entry["count"], float(entry["ghz"]))


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
