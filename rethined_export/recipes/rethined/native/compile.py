"""Compiles librethined with zig's C compiler, for this machine and for others.

``setup.py`` runs this file by itself, before the package is there: it imports nothing of it. Run as
a module it builds every target into a folder: ``make native``.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SOURCE, TIMING = (Path(__file__).with_name(name) for name in ("rethined.c", "timing.c"))
#: Loops are vectorised only where the compiler may fuse and may assume that nothing traps.
FLAGS = ("-std=c11", "-O3", "-ffp-contract=fast", "-fno-trapping-math", "-Wall", "-Wextra",
         "-Werror", "-s")  # fmt: skip
_SHARED = ("-shared", "-fPIC")


@dataclass(frozen=True)
class Target:
    """One kind of machine.

    Attributes:
        triple: as zig names it. file: what is built. flags: beside those of all.
        sources: what it is built of.
    """

    triple: str
    file: str
    flags: tuple[str, ...]
    sources: tuple[Path, ...] = (SOURCE,)


_FUNCTIONS = ("message", "shrink_scratch", "shrink", "list", "part", "compose", "keep",
              "fill_scratch", "fill")  # fmt: skip
_WASM = Target(
    "wasm32-wasi",
    "rethined.wasm",
    (
        "-msimd128",
        "-mexec-model=reactor",
        "-Wl,--export=__heap_base",
        *(f"-Wl,--export=rethined_{name}" for name in _FUNCTIONS),
    ),
)
#: Programs that time the library on a device: static, so that they run on any Linux, Android too.
_TIMERS = tuple(
    Target(f"{machine}-linux-musl", f"rethined-time-{machine}", ("-static",), (SOURCE, TIMING))
    for machine in ("aarch64", "x86_64")
)
#: What ``rethined-bench`` takes to devices and browsers; comes with the package.
CARRIED = (*_TIMERS, _WASM)
#: What ``make native`` builds. The object for arm64 Linux has nothing of a C library in it, so that
#: it links into a program for Android too.
TARGETS = (
    Target("x86_64-linux-gnu.2.17", "librethined.so", _SHARED),
    Target("aarch64-linux-gnu.2.17", "librethined.so", _SHARED),
    Target("aarch64-linux-musl", "rethined.o", ("-c",)),
    Target("aarch64-macos", "rethined.o", ("-c",)),
    *CARRIED,
)


def host() -> Target:
    """The shared library that Python loads on this machine; the same name on every system."""
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    system = "macos" if sys.platform == "darwin" else "linux-gnu.2.17"
    return Target(f"{machine}-{system}", "librethined.so", _SHARED)


def build(target: Target, output: Path) -> None:
    """Compile for a target.

    Raises:
        RuntimeError: the compiler is missing or failed.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "ziglang", "cc", "-target", target.triple, *FLAGS,
               *target.flags, *map(str, target.sources), "-o", str(output)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"compiling {target.file} for {target.triple} failed:\n{done.stderr}")


def main() -> None:
    """Build every target: ``FOLDER/TRIPLE/FILE``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    for target in TARGETS:
        output = folder / target.triple / target.file
        build(target, output)
        print(f"{output}: {output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
