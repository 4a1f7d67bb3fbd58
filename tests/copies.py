"""Copies of artifacts, to change them."""

import shutil
from pathlib import Path


def copied(artifact: Path, folder: Path) -> Path:
    """A copy of an artifact and its manifest in another folder, made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(artifact.with_name(artifact.name + ".json"), folder)
    copy = shutil.copytree if artifact.is_dir() else shutil.copy
    return Path(copy(artifact, folder / artifact.name))


def replace_bytes(data: bytearray, old: bytes, new: bytes) -> None:
    """Overwrite every occurrence of a byte pattern by one of equal length."""
    assert len(old) == len(new)
    place = data.find(old)
    assert place >= 0, "the pattern is not in the file"
    while place >= 0:
        data[place : place + len(old)] = new
        place = data.find(old, place + len(old))
