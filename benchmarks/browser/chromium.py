"""Headless Chromium as a process."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from rethined_export.jobs.memory import high_water_mark

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--disable-quic",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-background-networking",
    "--disable-dev-shm-usage",  # /dev/shm is too small in most containers
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing from outside
)
#: Its drivers can hang a machine without one; some are not trusted with WebGPU yet.
_GPU = {False: "--disable-gpu", True: "--enable-unsafe-webgpu"}
_END_S = 10.0


def executable() -> str | None:
    """Path of the browser; None if there is none."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextmanager
def chromium(address: str, folder: Path, gpu: bool = False) -> Iterator["subprocess.Popen[bytes]"]:
    """The browser on a page, with its profile and its log in a folder; ended on leaving.

    The browser must be there. Without ``gpu`` it uses none.
    """
    command = [str(executable()), *_FLAGS, _GPU[gpu], f"--user-data-dir={folder / 'profile'}"]
    if os.geteuid() == 0:
        command.append("--no-sandbox")  # Chromium does not sandbox what root runs
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, address],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=_environment(folder),
        )
    try:
        yield process
    finally:
        family = _family(process.pid)
        process.kill()
        process.wait()
        psutil.wait_procs(family, timeout=_END_S)


def peak_rss_bytes(process: "subprocess.Popen[bytes]") -> int:
    """Most memory that the process of the page has had resident."""
    peaks = [0]
    for child in _family(process.pid):
        with suppress(psutil.Error, OSError):  # some end meanwhile
            if "--type=renderer" in child.cmdline():
                peaks.append(high_water_mark(child.pid) or child.memory_info().rss)
    return max(peaks)


def _environment(folder: Path) -> dict[str, str]:
    """Its own home: some of its libraries write there, whatever the profile.

    Its temporary files hold a socket, whose path may be a hundred characters long: hence ``.``.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    return kept | {"HOME": str(folder), "TMPDIR": "."}


def _family(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []
