"""A device for one benchmark at a time, and a folder on it that is gone afterwards."""

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout

from rethined_export.benchmarks.adb.client import Device, find
from rethined_export.benchmarks.cache import cache
from rethined_export.errors import UnavailableError
from rethined_export.jobs.parent import JobError

#: Where Android, or Linux, lets its user write.
_PLACES = "for place in /data/local/tmp /tmp; do"
#: Ends what still runs, which is what works in the folder, and removes that.
_TIDY = f"""{_PLACES}
    folder="$(cd "$place" 2>/dev/null && pwd -P)/${{1:?}}" || continue
    [ -e "$folder" ] || continue
    for process in /proc/[0-9]*; do
        [ "$(readlink "$process/cwd" 2>/dev/null)" = "$folder" ] &&
            kill -9 "$(basename "$process")"
    done
    rm -rf "$folder"
done
"""
_MAKE = f"""{_PLACES}
    folder="$(cd "$place" 2>/dev/null && pwd -P)/${{1:?}}" || continue
    mkdir -m 700 "$folder" 2>/dev/null && echo "$folder" && exit
done
exit 1
"""


@contextmanager
def leased(model: str) -> Iterator[Device]:
    """The attached device of a model, ours until the end, with an empty folder.

    Raises:
        UnavailableError: it is not there, cannot be written to, or another benchmark holds it.
    """
    serial = find(model)
    with _alone(serial):
        device = Device(serial)
        # Of this user on this machine: the lock says that nobody else uses that name now, so what
        # a benchmark that lost the device left under it can go.
        name = f"rethined-bench-{getpass.getuser()}@{socket.gethostname()}"
        try:
            device.script(_TIDY, name)
            made = device.script(_MAKE, name)
            if made.code:
                raise UnavailableError(f"{serial} lets nobody write to /data/local/tmp or /tmp")
            device.folder = made.out.removesuffix("\n")
            yield device
        finally:
            # A device that has gone keeps the folder until the next lease, as its message says.
            with suppress(UnavailableError, JobError):
                device.script(_TIDY, name)


@contextmanager
def _alone(serial: str) -> Iterator[None]:
    """Hold the device's lock, with a note of who does: the lock's own file cannot hold one."""
    folder = cache() / "devices"
    folder.mkdir(parents=True, exist_ok=True)
    name = quote(serial, safe="")
    holder = folder / f"{name}.holder"
    lock = FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UnavailableError(
            f"{serial} is in use by {_read(holder)}; wait until that ends"
        ) from error
    try:
        holder.write_text(f"process {os.getpid()} of this machine")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _read(holder: Path) -> str:
    try:
        return holder.read_text()
    except OSError:  # between its lock and its name, or between its name and its end
        return "another benchmark"
