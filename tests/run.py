"""``make test``: every folder of tests in a process of its own, one on each core.

Converters and runtimes keep much of what they once took, and one process for all tests would need
more memory than a small machine has. Threads that share their cores with another process's wait for
each other by spinning, so every process keeps to its core, and takes it for all there are.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
#: pytest's exit code where a folder holds only tests that are left out.
_NONE = 5
#: The longest, which start first, so that no core waits for one of them at the end.
_LONG = ("test_exports.py", "mutations", "benchmarks", "cli", "test_guest_exports.py", "rethined")
#: Processes at once, at most: converters hold about 4 GiB each at their peak.
_MOST = 4


def parts() -> list[str]:
    """What each process runs: the folders, those of recipes apart, and the files beside them."""
    folders = [path for path in sorted(TESTS.iterdir()) if any(path.rglob("test_*.py"))]
    apart: list[Path] = []
    for folder in folders:
        if folder.name == "recipes":
            apart += sorted(path for path in folder.iterdir() if any(path.rglob("test_*.py")))
            apart += sorted(folder.glob("test_*.py"))
        elif folder.name != "golden":
            apart.append(folder)
    apart += sorted(TESTS.glob("test_*.py"))
    apart.sort(key=lambda path: _LONG.index(path.name) if path.name in _LONG else len(_LONG))
    return [str(path.relative_to(ROOT)) for path in apart]


def run(part: str, options: list[str]) -> bool:
    """Run one part, print what it said once it has ended; whether nothing failed."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, part],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    passed = done.returncode in (0, _NONE)
    print(f"== {part}: {time.perf_counter() - began:.0f} s\n{done.stdout}", flush=True)
    return passed


def _keep_to_one(cores: "SimpleQueue[int]") -> None:
    """This thread, and the processes it starts, run on a core of their own."""
    os.sched_setaffinity(0, {cores.get()})


def main(options: list[str]) -> int:
    """Run them all; returns 1 if a test failed anywhere."""
    began, todo = time.perf_counter(), parts()
    cores: SimpleQueue[int] = SimpleQueue()
    for core in sorted(os.sched_getaffinity(0))[:_MOST]:
        cores.put(core)
    with ThreadPoolExecutor(cores.qsize(), initializer=_keep_to_one, initargs=(cores,)) as pool:
        passed = list(pool.map(lambda part: run(part, options), todo))
    failed = [part for part, good in zip(todo, passed, strict=True) if not good]
    print(f"{len(todo)} parts in {time.perf_counter() - began:.0f} s; failed: {failed or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
