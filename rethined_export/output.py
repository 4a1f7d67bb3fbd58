"""Files that a user names for results: checked before the work, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from rethined_export.errors import UserError


def prepare(files: Iterable[Path | None] = (), folders: Iterable[Path | None] = ()) -> None:
    """Create the folders that results go to, and see that files can be made there.

    Args:
        files: results by name; None is one that nobody asked for. folders: for several results.

    Raises:
        UserError: a place that cannot be written.
    """
    named: set[Path] = set()
    for file in filter(None, files):
        if file.is_dir():
            raise UserError(f"{file} is a directory; give a file name")
        try:
            place = place_of(file)
        except OSError as error:
            raise UserError(f"cannot write {file}: {error.strerror}; choose another") from error
        if _is_stream(file):
            continue
        if place in named:
            raise UserError(f"two results would go to {file}; give each a name of its own")
        named.add(place)
        _prepare_folder(place.parent, file)
    for folder in filter(None, folders):
        _prepare_folder(folder, folder)


def place_of(path: Path) -> Path:
    """Where a result by a user's name goes: a link leads to what is written.

    Raises:
        OSError: it leads in a circle.
    """
    try:
        return path.resolve()
    except RuntimeError:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None


def _prepare_folder(folder: Path, wanted: Path) -> None:
    probe = folder / _temporary_name()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"cannot write {wanted}: {error.strerror or error}; choose another place"
        ) from error


def _is_stream(path: Path) -> bool:
    """Whether a name is that of a device or pipe, such as /dev/stdout: not ours to replace."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name only when all of it is written.

    What is replaced keeps its permissions, and where the name is a link, what it points to is
    replaced. A device or a pipe is written into.

    Raises:
        OSError: the system refuses (no permission, disk full).
    """
    if _is_stream(path):
        with path.open("wb") as file:
            yield file
        return
    place = place_of(path)
    # In the same folder, since a rename is only atomic within one file system.
    temporary = place.with_name(_temporary_name())
    try:
        with temporary.open("xb") as file:
            with contextlib.suppress(FileNotFoundError):
                temporary.chmod(stat.S_IMODE(place.stat().st_mode))
            yield file
        temporary.replace(place)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a report, in UTF-8 whatever the locale says.

    Raises:
        UserError: it cannot be written.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a result.

    Raises:
        UserError: it cannot be written.
    """
    try:
        with written(path) as file:
            file.write(data)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def _temporary_name() -> str:
    return f".rethined-{secrets.token_hex(6)}.tmp"
