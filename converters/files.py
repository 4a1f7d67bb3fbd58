"""What a file is that cannot be an artifact, before a runtime says something else of it."""

from pathlib import Path

from rethined_export.converters.types import ArtifactError

_LFS = b"version https://git-lfs.github.com/spec/"
#: What systems leave in folders of their own accord.
_DROPPED = (".DS_Store", "Thumbs.db", "desktop.ini")


def check_file(path: Path) -> None:
    """Refuse a file that holds no data, or only says where they are.

    Raises:
        ArtifactError: it cannot be read, is empty, or a Git LFS pointer.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(_LFS))
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    if not head:
        raise ArtifactError(f"{path} is empty (0 bytes); copy it again, or export it again")
    if head == _LFS:
        raise ArtifactError(f"{path} is a Git LFS pointer, not the file; run: git lfs pull")


def package_files(path: Path) -> list[Path]:
    """The files of a package folder in order, without what a system has dropped there."""
    return sorted(file for file in path.rglob("*") if file.is_file() and not _dropped(file))


def _dropped(file: Path) -> bool:
    return file.name in _DROPPED or file.name.startswith("._")
