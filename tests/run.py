"""``make test``: the tests in several processes, one on each core.

Converters and runtimes keep much of what they once took, and one process for all tests would need
more memory than a small machine has; starting one costs seconds, so small folders share theirs.
Threads that share their cores with another process's wait for each other by spinning, so every
process keeps to its core, and takes it for all there are.
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
#: What takes a process of its own, the longest first, so that no core waits at the end.
_ALONE = (
    "benchmarks", "recipes/test_guest_exports.py", "cli", "test_exports.py", "mutations",
    "recipes/rethined", "models", "training", "recipes/test_every_recipe.py", "tracing", "lint",
    "converters",
)  # fmt: skip
#: Processes at once, at most: converters hold about 4 GiB each at their peak.
_MOST = 4


def parts() -> list[list[str]]:
    """What each process runs: files and folders; all others of recipes together, and the rest."""
    alone = [[name] for name in _ALONE]
    entries = [*TESTS.iterdir(), *(TESTS / "recipes").iterdir()]
    holding = [path for path in sorted(entries) if path.name != "golden" and _has_tests(path)]
    others = {str(path.relative_to(TESTS)) for path in holding} - {"recipes", *_ALONE}
    small = sorted(name for name in others if name.startswith("recipes/"))
    together = [small, sorted(others.difference(small))]
    return [[f"tests/{name}" for name in part] for part in alone + together]


def _has_tests(path: Path) -> bool:
    return path.match("test_*.py") or any(path.rglob("test_*.py"))


def run(part: list[str], options: list[str]) -> bool:
    """Run one part, print what it said once it has ended; whether nothing failed."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *part],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    passed = done.returncode in (0, _NONE)
    print(f"== {' '.join(part)}: {time.perf_counter() - began:.0f} s\n{done.stdout}", flush=True)
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
    failed = [" ".join(part) for part, good in zip(todo, passed, strict=True) if not good]
    print(f"{len(todo)} parts in {time.perf_counter() - began:.0f} s; failed: {failed or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
