"""How much memory this process has taken at most."""

import resource
import sys
from pathlib import Path


def peak_rss_bytes() -> int:
    """Highest resident size so far, in bytes.

    On Linux read from the kernel's own mark: ``ru_maxrss`` starts out at the parent's size there.
    """
    if mark := high_water_mark("self"):
        return mark
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def high_water_mark(process: int | str) -> int | None:
    """Highest resident size of a process by number, in bytes; None where the kernel keeps none."""
    status = Path(f"/proc/{process}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None
