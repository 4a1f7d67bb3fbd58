"""What is kept between runs, in the user's cache; what is built there is built once."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def cache() -> Path:
    """The folder, which may not exist yet."""
    return _place() / "rethined-export"


def _place() -> Path:
    """The user's cache, or where the system keeps what is temporary: not every user has a home."""
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named)
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return Path(tempfile.gettempdir())


def build_once(place: Path, build: Callable[[Path], None]) -> None:
    """Build a folder unless it is there; a build that fails leaves none.

    Args:
        build: fills the empty folder that it is called with.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_name(place.name + ".lock")):
        if place.exists():
            return
        half = place.with_name(place.name + ".tmp")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
        build(half)
        half.rename(place)
