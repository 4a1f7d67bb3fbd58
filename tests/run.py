"""``make test``: every folder of tests in a process of its own, as many at once as there are cores.

Converters and runtimes keep much of what they once took, and one process for all tests would need
more memory than a small machine has.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
#: pytest's exit code where a folder holds only tests that are left out.
_NONE = 5
#: The longest, which start first, so that no core waits for one of them at the end.
_LONG = ("test_exports.py", "mutations", "benchmarks", "cli")
#: What one process may take of the machine: converters hold about 4 GiB each at their peak.
_AT_ONCE = min(os.cpu_count() or 1, 4)


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
        env={"OMP_NUM_THREADS": "1"} | os.environ,  # a core each
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    passed = done.returncode in (0, _NONE)
    print(f"== {part}: {time.perf_counter() - began:.0f} s\n{done.stdout}", flush=True)
    return passed


def main(options: list[str]) -> int:
    """Run them all; returns 1 if a test failed anywhere."""
    began, todo = time.perf_counter(), parts()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        passed = list(pool.map(lambda part: run(part, options), todo))
    failed = [part for part, good in zip(todo, passed, strict=True) if not good]
    print(f"{len(todo)} parts in {time.perf_counter() - began:.0f} s; failed: {failed or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
