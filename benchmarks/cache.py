"""What is kept between runs: emulators, the user's benchmark tools, locks."""

import os
from pathlib import Path


def cache() -> Path:
    """The folder, which may not exist yet."""
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return place / "rethined-export"
