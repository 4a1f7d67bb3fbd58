"""A device for tests: a real adbd in namespaces of its own, which runs arm64 programs.

Its network, processes and storage are its own, so that nothing else can be reached through it and
all of it ends at once. Built from this machine's package sources into the user's cache.
"""

import ctypes
import fcntl
import os
import re
import shlex
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import adbutils
import psutil
from filelock import FileLock

from rethined_export.benchmarks.arm64.system import System
from rethined_export.benchmarks.cache import cache
from rethined_export.errors import UnavailableError
from rethined_export.jobs.parent import last_line

_SERVER_PORT, _DEVICE_PORT = 5037, 5601
SERIAL = f"127.0.0.1:{_DEVICE_PORT}"
#: From the kernel's headers.
_NEW_NETWORK, _SET_FLAGS, _UP = 0x40000000, 0x8914, 1
_PATIENCE_S = 20.0
#: Storage that can run out, with the folders that are named still in their places; all else is
#: read-only, whatever a device is told to do.
_BOOT = """
exec 3<"$1" 4<"$2"
mount -t tmpfs -o size=48m tmpfs /tmp || exit
for n in 3 4; do
    [ $n = 3 ] && place=$1 || place=$2
    [ -d "$place" ] || { mkdir -p "$place" && mount -c --bind "/proc/$$/fd/$n" "$place"; } || exit
done
exec 3<&- 4<&-
mount -o remount,bind,ro / || exit
echo up
while :; do sleep 1000; done
"""
_IDLE = ["sleep", "1000"]


class Phone:
    """A running device.

    Attributes:
        programs: folder on its PATH.
    """

    def __init__(self, adbd: Path, programs: Path) -> None:
        self.programs = programs
        self._adbd = adbd
        command = ["unshare", "-n", "-m", "-p", "--fork", "--mount-proc", "--kill-child"]
        self._holder = subprocess.Popen(
            [*command, "sh", "-c", _BOOT, "sh", str(cache()), str(programs)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None and self._holder.stderr is not None
        if self._holder.stdout.readline() != "up\n":
            self._holder.wait()
            raise UnavailableError(f"no namespaces: {last_line(self._holder.stderr.read())}")
        (init,) = psutil.Process(self._holder.pid).children()
        self._init = init

    def program(self, name: str, text: str) -> None:
        """Put a script on the device's PATH."""
        path = self.programs / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    @contextmanager
    def network(self) -> Iterator[None]:
        """This process, and what it starts, on the device's network."""
        libc = ctypes.CDLL(None, use_errno=True)

        def enter(place: str) -> None:
            descriptor = os.open(place, os.O_RDONLY)
            assert libc.setns(descriptor, _NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())
            os.close(descriptor)

        # Of this thread, which is the main one; another thread's has the first.
        outside = os.open("/proc/self/ns/net", os.O_RDONLY)
        enter(f"/proc/{self._init.pid}/ns/net")
        try:
            with socket.socket() as anything:
                fcntl.ioctl(anything, _SET_FLAGS, struct.pack("16sh", b"lo", _UP))
            yield
        finally:
            enter(f"/proc/self/fd/{outside}")
            os.close(outside)

    def attach(self) -> None:
        """Start adbd unless it runs, and connect the server to it."""
        if not any(command[0].endswith("/adbd") for command in self.commands()):
            libraries = {str(path.parent) for path in self._adbd.rglob("*.so*")}
            environment = {
                "PATH": f"{self.programs}:/usr/sbin:/usr/bin:/sbin:/bin",
                "ADBD_PORT": str(_DEVICE_PORT),
                "LD_LIBRARY_PATH": ":".join(sorted(libraries)),
            }
            (program,) = self._adbd.glob("usr/lib/android-sdk/platform-tools/adbd")
            enter = ["nsenter", "-t", str(self._init.pid), "-n", "-m", "-p"]
            silent = subprocess.DEVNULL
            start = ["sh", "-c", 'cd /tmp && exec "$0"', str(program)]
            subprocess.Popen([*enter, *start], env=environment, stdout=silent, stderr=silent)
        client = adbutils.AdbClient()
        until = time.monotonic() + _PATIENCE_S
        while not any(entry.state == "device" for entry in client.list()):
            assert time.monotonic() < until, "adbd does not answer"
            client.disconnect(SERIAL)
            client.connect(SERIAL)
            time.sleep(0.05)

    def commands(self) -> list[list[str]]:
        """What runs on the device, but for what keeps it up."""
        ours = _namespace(self._init)
        idle = (None, [], _IDLE)  # also what has just ended
        return [
            process.info["cmdline"]
            for process in psutil.process_iter(["cmdline"])
            if _namespace(process) == ours
            and process != self._init
            and process.info["cmdline"] not in idle
        ]

    def storage(self) -> Path:
        """Its ``/tmp``, seen from here."""
        return Path(f"/proc/{self._init.pid}/root/tmp")

    def clean(self) -> bool:
        """Nothing of a benchmark is left on it, neither files nor processes."""
        left = [*self.storage().glob("rethined-bench-*")]
        running = [command for command in self.commands() if not command[0].endswith("/adbd")]
        return not left and not running

    def off(self) -> None:
        """End all of it."""
        self._holder.kill()
        self._holder.communicate()


def _namespace(process: psutil.Process) -> str:
    """Which processes it is among; empty if it has ended."""
    try:
        return str(Path(f"/proc/{process.pid}/ns/pid").readlink())
    except OSError:
        return ""


@contextmanager
def phone(programs: Path, emulated: System) -> Iterator[Phone]:
    """A device whose ``python3`` is the emulator's, reached while the context lasts.

    Raises:
        UnavailableError: it cannot be built or started here.
    """
    if os.geteuid() != 0:
        raise UnavailableError("namespaces for adbd need root")
    adbd = _build()
    device = Phone(adbd, programs)
    command = emulated.command(Path("-"), [], Path("-"))
    begin = command.index("-plugin")  # counting would only slow it down
    python = [*command[:begin], *command[begin + 2 : -1]]
    libraries = emulated.environment()["LD_LIBRARY_PATH"]
    device.program(
        "python3",
        f'export LD_LIBRARY_PATH={shlex.quote(libraries)}\nexec {shlex.join(python)} "$@"',
    )
    home = {"HOME": str(programs)}  # where the server keeps its key
    try:
        server = [adbutils.adb_path(), "-P", str(_SERVER_PORT)]
        with device.network():
            subprocess.run([*server, "start-server"], check=True, env=os.environ | home,
                           stderr=subprocess.DEVNULL)  # fmt: skip
            try:
                yield device
            finally:
                subprocess.run([*server, "kill-server"], check=False)
    except adbutils.AdbError as error:
        raise UnavailableError(str(error)) from error
    finally:
        device.off()


def _build() -> Path:
    """adbd and the libraries that this machine lacks, from its distribution's backports."""
    place = cache() / "adbd"
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_name("adbd.lock")):
        if not place.exists():
            half = place.with_name("adbd.tmp")
            shutil.rmtree(half, ignore_errors=True)
            (half / "lists/partial").mkdir(parents=True)
            (half / "archives/partial").mkdir(parents=True)
            _download(half)
            for package in (half / "archives").glob("*.deb"):
                _run("dpkg", "-x", str(package), str(half))
            for folder in ("lists", "archives"):
                shutil.rmtree(half / folder)
            half.rename(place)
    return place


def _download(folder: Path) -> None:
    if shutil.which("apt-get") is None:
        raise UnavailableError("adbd is built from Debian's packages, with apt-get")
    apt = ["apt-get", "-qq", "-y", "--no-install-recommends", "-o", "Debug::NoLocking=1",
           "-o", f"Dir::Cache={folder}", "-o", f"Dir::State::Lists={folder / 'lists'}",
           "-o", "Acquire::Languages=none"]  # fmt: skip
    _run(*apt, "update")
    repository, release = _distribution(_run(*apt, "indextargets"))
    backports = f"{release}-backports"
    sources = folder / "sources.list"
    sources.write_text("".join(f"deb {repository} {name} main\n" for name in (release, backports)))
    apt += ["-o", f"Dir::Etc::sourcelist={sources}", "-o", "Dir::Etc::sourceparts=-"]
    _run(*apt, "update")
    _run(*apt, "--download-only", "--target-release", backports, "install", "adbd")


def _distribution(indexes: str) -> tuple[str, str]:
    """Address and name of this machine's own release, as its package sources have them."""
    known = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.M)
    for stanza in indexes.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
        if known and fields.get("Codename") == known[1] and fields.get("Component") == "main":
            return fields["Repo-URI"], known[1]
    raise UnavailableError("adbd is built from the distribution's package sources; none are here")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnavailableError(
            f"building adbd: {command[0]} failed: {last_line(done.stderr)[:300]}"
        )
    return done.stdout
