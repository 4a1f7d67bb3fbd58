"""One device over adb: which one it is, commands in its shell, files to and from it.

Nothing is ever pasted into the device's shell: every word is quoted, and scripts take what is not
theirs as arguments.
"""

import contextlib
import os
import re
import shlex
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rethined_export.errors import UnavailableError, UserError
from rethined_export.jobs.parent import JobError

try:
    import adbutils
except ModuleNotFoundError:
    adbutils = None

#: What the client raises when device, adbd or server go away in the middle of something.
_LOST: tuple[type[Exception], ...] = (
    EOFError,
    OSError,
    AssertionError,
    ValueError,
    struct.error,
    subprocess.TimeoutExpired,
)
if adbutils is not None:
    _LOST = (adbutils.AdbError, *_LOST)
#: For commands that only look or tidy up.
_MOMENT_S = 20.0
#: States a device can be attached in without answering.
_STATES = {
    "unauthorized": "unauthorized, allow debugging on its screen",
    "offline": "offline, attach it again",
}


@dataclass(frozen=True)
class Done:
    """A command that has ended.

    Attributes:
        code: 128 and the signal's number where one ended it. seconds: by this machine's clock.
    """

    code: int
    out: str
    err: str
    seconds: float


def find(model: str) -> str:
    """The serial number of the attached device of a model.

    Raises:
        UnavailableError: none or several, or no adb here; the message says which.
    """
    client = _client()
    try:
        attached: dict[str, str] = {entry.serial: entry.state for entry in client.list()}
    except _LOST as error:
        raise UnavailableError(f"adb's server does not answer ({_said(error)})") from error
    names = {serial: _name(client, serial, state) for serial, state in attached.items()}
    fitting = [serial for serial, name in names.items() if _is(name, model)]
    if (wanted := os.environ.get("ANDROID_SERIAL", "")) in fitting:
        return wanted
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        several = ", ".join(fitting)
        raise UnavailableError(
            f"{len(fitting)} devices say {model} ({several}); set ANDROID_SERIAL to one of them"
        )
    seen = "; ".join(f"{serial} is {name}" for serial, name in names.items())
    raise UnavailableError(f"no device attached says {model} ({seen or 'adb sees none'})")


def _name(client: Any, serial: str, state: str) -> str:
    """What a device calls itself, or why it does not say."""
    if state != "device":
        return _STATES.get(state, state)
    script = "getprop ro.product.model 2>/dev/null || tr -d '\\0' < /proc/device-tree/model"
    with contextlib.suppress(*_LOST):
        return str(client.device(serial).shell2(script, timeout=_MOMENT_S, v2=True).stdout.strip())
    return "not answering"


def _is(name: str, model: str) -> bool:
    """Boards add their revision: ``Raspberry Pi 5 Model B Rev 1.0``."""
    return name == model or name.startswith(f"{model} Model ")


def _client() -> Any:
    """A client whose server runs; one that has to be started prints nothing here."""
    if adbutils is None:
        raise UnavailableError(
            "adbutils is not installed (pip install 'rethined-export[bench]' installs it)"
        )
    client = adbutils.AdbClient()
    try:
        socket.create_connection((client.host, client.port), timeout=1).close()
    except OSError:
        _start_server(client.port)
    return client


def _start_server(port: int) -> None:
    """Start adb's server, which stays, as after any other use of adb."""
    quiet = subprocess.DEVNULL
    try:
        command = [adbutils.adb_path(), "-P", str(port), "start-server"]
        subprocess.run(
            command, stdin=quiet, stdout=quiet, stderr=quiet, timeout=_MOMENT_S, check=True
        )
    except adbutils.AdbError as error:
        raise UnavailableError("no adb on this machine; install the package adb") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise UnavailableError(f"adb cannot start its server here: {error}") from error


@contextmanager
def _reached(serial: str) -> Iterator[None]:
    """Whatever goes wrong on the way to a device is one thing for the user."""
    try:
        yield
    except _LOST as error:
        raise UnavailableError(
            f"{serial} stopped answering ({_said(error)}); attach it again and repeat, which also "
            "removes what may be left on it"
        ) from error


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


class Device:
    """A device with a folder of our own on it, by the absolute path ``folder``."""

    def __init__(self, serial: str) -> None:
        self.serial = serial
        self.folder = ""
        with _reached(serial):
            self._device = _client().device(serial)

    def shell(self, *words: str, limit_s: float = _MOMENT_S) -> Done:
        """Run one command; its words reach it as they are.

        Raises:
            UnavailableError: the device went away.
            JobError: no answer for longer than the limit.
        """
        begun = time.monotonic()
        with _reached(self.serial):
            try:
                done = self._device.shell2(shlex.join(words), timeout=limit_s, v2=True)
            except adbutils.AdbTimeout as error:
                raise JobError(f"no answer from {self.serial} for {limit_s:.0f} s", 1) from error
        return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - begun)

    def script(self, text: str, *arguments: str, limit_s: float = _MOMENT_S) -> Done:
        """Run lines of shell that take ``arguments`` as ``$1`` and so on; raises as ``shell``."""
        return self.shell("sh", "-c", text, "sh", *arguments, limit_s=limit_s)

    def empty(self) -> None:
        """Clear our folder, so that nothing in it can be taken for what the next run leaves.

        Raises:
            UnavailableError: the device went away, or does not let us.
        """
        if self.script('cd "$1" && rm -rf ./*', self.folder).code:
            raise UnavailableError(f"{self.folder} on {self.serial} cannot be cleared")

    def push(self, source: Path, name: str) -> str:
        """Copy a file into our folder; returns its path there.

        Raises:
            UserError: no space for it.
            UnavailableError: the device went away.
        """
        target = f"{self.folder}/{name}"
        with _reached(self.serial):
            try:
                self._device.sync.push(source, target, check=True)
            except _LOST:
                self._check_space(source.stat().st_size, name)
                raise
        return target

    def _check_space(self, size: int, name: str) -> None:
        told = re.search(r"^\S+ +\d+ +\d+ +(\d+) ", self.shell("df", "-Pk", self.folder).out, re.M)
        free = None if told is None else int(told[1]) * 1024
        if free is not None and free < size:
            raise UserError(
                f"no space for {name} on {self.serial}: {size / 1e6:.1f} MB, and "
                f"{free / 1e6:.1f} MB are free in {self.folder}; free some there"
            )

    def pull(self, name: str, target: Path) -> None:
        """Copy a file of our folder to this machine.

        Raises:
            JobError: there is none of that name.
            UnavailableError: the device went away.
        """
        path = f"{self.folder}/{name}"
        if self.shell("test", "-f", path).code:
            raise JobError(f"the run on {self.serial} left no {name}", 1)
        with _reached(self.serial):
            self._device.sync.pull_file(path, target)
