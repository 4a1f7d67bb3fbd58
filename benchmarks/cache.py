"""What is built or fetched once and kept in the user's cache."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def cached(name: str) -> Path:
    """Where a folder of that name lies, or would."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "rethined-export" / name


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
