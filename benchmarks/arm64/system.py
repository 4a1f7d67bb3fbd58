"""The emulated system on disk: built once into the user's cache, without root.

From this machine's own package sources: qemu's user-mode emulator, an arm64 C library and Python;
from the Python index: the runtimes' aarch64 wheels, of the versions installed here; and a counter
of instructions, compiled by gcc.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rethined_export.benchmarks.cache import build_once, cache
from rethined_export.errors import UnavailableError
from rethined_export.jobs.parent import last_line

#: Packages of this machine's architecture: the emulator, and libraries it may lack.
_EMULATOR = ("qemu-user", "libcapstone4", "libnuma1", "liburing2")
#: arm64 packages; apt adds what they need.
_GUEST = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
_WHEELS = ("numpy", "onnxruntime", "ai-edge-litert")
_TOOLS = ("apt-get", "dpkg", "gcc")
#: Wheels carry either tag.
_PLATFORMS = ("manylinux_2_27_aarch64", "manylinux_2_28_aarch64")
#: The cores' own /proc/cpuinfo: the runtimes choose their kernels by it, and crash on an x86 one.
_CPUINFO = """processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc \
dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

"""
_FILES = {
    "proc/cpuinfo": _CPUINFO,
    "sys/devices/system/cpu/possible": "0\n",
    "sys/devices/system/cpu/present": "0\n",
    "sys/devices/system/cpu/online": "0\n",
}
#: The core that is emulated, and that /proc/cpuinfo above describes.
CORE, MACHINE = "cortex-a76", "aarch64"
Tell = Callable[[str], None]


@dataclass(frozen=True)
class System:
    """Where the parts of a built system lie."""

    root: Path

    @property
    def python(self) -> Path:
        """The guest's interpreter."""
        return next((self.root / "guest/usr/bin").glob("python3.[0-9]*"))

    def command(self, script: Path, arguments: Sequence[str], counts: Path) -> list[str]:
        """The command that runs a script in the guest and counts into a file."""
        settings = {
            "PYTHONHOME": str(self.root / "guest/usr"),
            "PYTHONPATH": str(self.root / "wheels"),
            "PYTHONHASHSEED": "0",  # of the interpreter's own instructions, which count too
        }
        return self.executed([str(self.python), str(script), *arguments], counts, settings)

    def executed(
        self,
        program: Sequence[str],
        counts: Path,
        settings: Mapping[str, str] | None = None,
    ) -> list[str]:
        """The command that runs a guest's program and counts into a file.

        Args:
            settings: of the guest's environment.
        """
        guest = self.root / "guest"
        return [
            str(self.root / "emulator/usr/bin/qemu-aarch64"),
            *("-L", str(guest), "-cpu", CORE),
            *("-plugin", f"{self.root / 'count.so'},out={counts}"),
            *(
                word
                for name, value in (settings or {}).items()
                for word in ("-E", f"{name}={value}")
            ),
            *program,
        ]

    def environment(self) -> dict[str, str]:
        """For the emulator itself: where the libraries lie that this machine may lack."""
        found = sorted((self.root / "emulator/usr/lib").glob("*-linux-gnu"))
        return os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(map(str, found))}


def location() -> Path:
    """Where the system lies, or would: one folder for each set of runtime versions."""
    return cache() / ("arm64-" + "-".join(_versions().values()))


def missing() -> str:
    """Why there is no system to run on now; empty if there is."""
    try:
        place = location()
    except PackageNotFoundError as error:
        return f"{error.name} is not installed here, so its version for the emulator is not known"
    return "" if place.exists() else "not built; `make emulator` builds it"


def system() -> System:
    """The built system.

    Raises:
        UnavailableError: it is not there.
    """
    if reason := missing():
        raise UnavailableError(f"the arm64 emulator is {reason}")
    return System(location())


def build(tell: Tell) -> System:
    """Build the system unless it is there.

    Raises:
        UnavailableError: a tool is missing, or a package cannot be had; the message says which.
    """
    place = location()

    def fill(half: Path) -> None:
        if lacking := [tool for tool in _TOOLS if shutil.which(tool) is None]:
            raise UnavailableError(
                f"the arm64 emulator is built with {', '.join(_TOOLS)} (Debian or Ubuntu); "
                f"{', '.join(lacking)} is missing"
            )
        _emulator(half, tell)
        _guest(half, tell)
        _wheels(half, tell)
        _counter(half, tell)

    build_once(place, fill)
    return System(place)


def _versions() -> dict[str, str]:
    return {name: version(name) for name in _WHEELS}


def _emulator(root: Path, tell: Tell) -> None:
    tell("downloading the emulator")
    packages = root / "packages"
    packages.mkdir()
    _run(["apt-get", "download", "-qq", *_EMULATOR], packages)
    _unpack(packages, root / "emulator")


def _guest(root: Path, tell: Tell) -> None:
    tell("downloading arm64 system files")
    state = root / "apt"
    for folder in ("lists/partial", "archives/partial"):
        (state / folder).mkdir(parents=True)
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Install-Recommends": "0",
        "Acquire::Languages": "none",
        "Debug::NoLocking": "1",
        "Dir::State::Lists": str(state / "lists"),
        "Dir::State::status": "/dev/null",
        "Dir::Cache": str(state),
        "Dir::Cache::archives": str(state / "archives"),
    }
    apt = ["apt-get", "-qq", "-y"]
    for name, value in options.items():
        apt += ["-o", f"{name}={value}"]
    _run([*apt, "update"], root)
    _run([*apt, "--download-only", "install", *_GUEST], root)
    _unpack(state / "archives", root / "guest")
    shutil.rmtree(state)
    for name, text in _FILES.items():
        path = root / "guest" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _wheels(root: Path, tell: Tell) -> None:
    tell("downloading aarch64 builds of the runtimes")
    number = System(root).python.name.removeprefix("python")
    folder = root / "downloaded"
    tags = [f"--platform={tag}" for tag in _PLATFORMS]
    wanted = [f"{name}=={release}" for name, release in _versions().items()]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    _run([*pip, *tags, "--python-version", number, "--dest", str(folder), *wanted], root)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(root / "wheels")
    shutil.rmtree(folder)


def _counter(root: Path, tell: Tell) -> None:
    tell("compiling the counter")
    source = Path(__file__).with_name("count.c")
    flags = ["-shared", "-fPIC", "-O2", "-Wno-unused-parameter"]
    _run(["gcc", *flags, "-o", str(root / "count.so"), str(source)], root)


def _unpack(packages: Path, target: Path) -> None:
    for package in sorted(packages.glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(target)], packages)
        package.unlink()


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = last_line(done.stderr)
        raise UnavailableError(f"building the arm64 emulator: {command[0]} failed: {said[:300]}")


def main() -> None:
    """``make emulator``."""
    try:
        made = build(lambda text: print(text, flush=True))
    except UnavailableError as error:
        raise SystemExit(f"error: {error}") from error
    print(json.dumps({"built": str(made.root), "runtimes": _versions()}))


if __name__ == "__main__":
    main()
