"""Checkpoints cut into several files, with an index in JSON that says what is where."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from rethined_export.checkpoints.contents import Candidate, Contents
from rethined_export.checkpoints.errors import CheckpointError, DamageError, few, shown
from rethined_export.checkpoints.mappings import choose
from rethined_export.checkpoints.stored import Stored

_MOST_BYTES = 64 << 20
_SHARD = re.compile(r"-0*(\d+)-of-0*(\d+)\.\w+$")


def weight_map(path: Path, file: BinaryIO, size: int) -> dict[str, str]:
    """Which shard each tensor is in, by name.

    Raises:
        CheckpointError: JSON of another kind. DamageError: not JSON.
    """
    if size > _MOST_BYTES:
        raise CheckpointError(f"{path} is a JSON file of {size} bytes; give the checkpoint")
    file.seek(0)
    try:
        content = json.loads(file.read())
    except RecursionError as error:
        raise DamageError("its JSON is nested too deeply") from error
    except ValueError as error:
        raise CheckpointError(
            f"{path} is a text file, or JSON that is damaged ({shown(str(error))}); "
            "give the checkpoint"
        ) from error
    places = content.get("weight_map") if isinstance(content, dict) else None
    if places is None:
        names = [str(name) for name in content] if isinstance(content, dict) else []
        holds = f" (its entries: {few(names)})" if names else ""
        raise CheckpointError(f"{path} is a JSON file{holds}; give the checkpoint")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise DamageError("its weight_map does not name a file for each tensor")
    return places


def shard_paths(path: Path, places: dict[str, str]) -> dict[str, Path]:
    """The shards' paths by name, in order; they stand beside the index, or beside a link to it.

    Raises:
        CheckpointError: missing, or outside the folder.
    """
    names = sorted(set(places.values()))
    for name in names:
        if not name or Path(name).name != name:
            raise CheckpointError(f"{path} names a shard outside its folder: {shown(name)}")
    missing = [name for name in names if not (path.parent / name).exists()]
    if missing:
        raise CheckpointError(
            f"{path} needs {len(names)} shards and {few(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing; put every shard beside it"
        )
    return {name: path.parent / name for name in names}


def join(path: Path, places: dict[str, str], open_shard: Callable[[Path], Contents]) -> Contents:
    """One mapping from all shards.

    Raises:
        CheckpointError: a tensor is not in the shard the index names.
    """
    shards = {name: open_shard(shard) for name, shard in shard_paths(path, places).items()}
    found: dict[str, dict[str, Stored]] = {
        name: choose(full)[0].tensors if (full := _with_tensors(shard)) else {}
        for name, shard in shards.items()
    }
    lost = [name for name, shard in places.items() if name not in found[shard]]
    if lost:
        raise CheckpointError(
            f"{path}: {len(lost)} tensors are not in the shards it names, first {few(lost)}; "
            "download index and shards again, together"
        )
    tensors = {name: found[shard][name] for name, shard in places.items()}
    kinds = sorted({shard.container for shard in shards.values()})
    return Contents(
        f"{' and '.join(kinds)} in {len(shards)} shards",
        [Candidate("", tensors)] if tensors else [],
        "an index without tensors",
        sum(shard.size for shard in shards.values()),
    )


def _with_tensors(contents: Contents) -> list[Candidate]:
    return [candidate for candidate in contents.candidates if candidate.tensors]


def lone_shard(path: Path) -> str:
    """What to say of a file that is named as one shard of several; empty for others."""
    found = _SHARD.search(path.name)
    if not found or int(found[2]) < 2:
        return ""
    return f"{path.name} is one shard of {found[2]}; give the index (.index.json) to read all"
