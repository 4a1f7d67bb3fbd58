"""What a file is that cannot be an artifact, before a runtime says something else of it."""

from pathlib import Path

from rethined_export.converters.types import ArtifactError

_LFS = b"version https://git-lfs.github.com/spec/"
#: What systems leave in folders of their own accord, beside names that begin with a dot.
_DROPPED = ("Thumbs.db", "ehthumbs.db", "desktop.ini", "Icon\r", "__MACOSX", "@eaDir")


def weights_beside(path: Path) -> Path:
    """Where the weights of an artifact lie that are too many for one file."""
    return path.with_name(f"{path.name}.data")


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


def check_package(path: Path) -> None:
    """Refuse what is no package folder, or has files without data in it.

    Raises:
        ArtifactError: saying which file it is.
    """
    if not path.is_dir():
        check_file(path)
        raise ArtifactError(f"{path} is not a Core ML package: it is no folder")
    if not (path / "Manifest.json").is_file():
        raise ArtifactError(f"{path} is not a Core ML package: it has no Manifest.json")
    for file in package_files(path):
        check_file(file)


def package_files(path: Path) -> list[Path]:
    """The files of a package folder in order, without what a system has dropped there."""
    files = (file for file in path.rglob("*") if file.is_file())
    return sorted(file for file in files if not _dropped(file.relative_to(path)))


def _dropped(file: Path) -> bool:
    """By its name within the package, or that of a folder it lies in; packages hide nothing."""
    return any(part in _DROPPED or part.startswith(".") for part in file.parts)
