"""Safetensors files: a header of JSON, and the tensors' bytes one after the other."""

import json
from pathlib import Path
from typing import BinaryIO

from rethined_export.checkpoints.contents import Candidate, Contents
from rethined_export.checkpoints.errors import CheckpointError, DamageError, shown
from rethined_export.checkpoints.stored import DTYPES, Block, Stored, stored

#: The format's own limit.
MOST_HEADER_BYTES = 100_000_000


def read_safetensors(path: Path, file: BinaryIO, size: int) -> Contents:
    """Read the header; tensors are read when they are asked for.

    Raises:
        DamageError: the header contradicts itself or the file's size.
        CheckpointError: a type of tensor this package does not know.
    """
    file.seek(0)
    start = 8 + int.from_bytes(file.read(8), "little")
    try:
        header = json.loads(file.read(start - 8))
    except (ValueError, RecursionError) as error:
        raise DamageError(f"its header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise DamageError("its header is not a mapping")
    metadata = header.pop("__metadata__", {})
    text = metadata.items() if isinstance(metadata, dict) else ()
    tensors = {name: _entry(path, file, name, header[name], start, size) for name in header}
    return Contents(
        "safetensors",
        [Candidate("", tensors)] if tensors else [],
        "an empty mapping",
        size,
        {key: value for key, value in text if isinstance(value, str)},
    )


def _entry(path: Path, file: BinaryIO, name: str, entry: object, start: int, size: int) -> Stored:
    """One tensor, described by its type, its shape and where its bytes begin and end."""
    if not isinstance(entry, dict):
        raise DamageError(f"{shown(name)} is not described")
    kind, place = entry.get("dtype"), entry.get("data_offsets")
    if not isinstance(kind, str) or kind not in DTYPES:
        raise CheckpointError(
            f"{path}: {shown(name)} is of type {shown(str(kind), 20)}, which is not read; "
            "save it as F32, F16 or BF16"
        )
    if not isinstance(place, list) or len(place) != 2 or any(type(n) is not int for n in place):
        raise DamageError(f"{shown(name)} has no place")
    begin, end = start + place[0], start + place[1]
    if not start <= begin <= end <= size:
        raise DamageError(f"{shown(name)} ends at byte {end} of {size}")

    def read() -> bytearray:
        content = bytearray(end - begin)
        file.seek(begin)
        if file.readinto(content) != len(content):  # type: ignore[attr-defined]
            raise DamageError(f"{shown(name)} ends early")
        return content

    tensor = stored(Block(end - begin, read), DTYPES[kind], entry.get("shape"))
    if tensor.nbytes != end - begin:
        raise DamageError(f"{shown(name)} of shape {list(tensor.shape)} takes {end - begin} bytes")
    return tensor
