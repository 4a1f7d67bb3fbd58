"""``make test``: every folder of tests in a process of its own, one after the other.

Converters and runtimes keep much of what they once took, and one process for all tests would need
more memory than a small machine has.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
#: pytest's exit code where a folder holds only tests that are left out.
_NONE = 5


def parts() -> list[list[str]]:
    """What each process runs: the folders, those of recipes apart, and the files beside them."""
    folders = [path for path in sorted(TESTS.iterdir()) if any(path.rglob("test_*.py"))]
    apart: list[Path] = []
    for folder in folders:
        if folder.name == "recipes":
            apart += sorted(path for path in folder.iterdir() if any(path.rglob("test_*.py")))
            apart += sorted(folder.glob("test_*.py"))
        elif folder.name != "golden":
            apart.append(folder)
    files = sorted(TESTS.glob("test_*.py"))
    return [[str(path.relative_to(ROOT))] for path in (*apart, *files)]


def main(options: list[str]) -> int:
    """Run them all; returns 1 if a test failed anywhere."""
    failed = []
    for part in parts():
        print(f"== {' '.join(part)}", flush=True)
        command = [sys.executable, "-m", "pytest", *options, *part]
        if subprocess.run(command, cwd=ROOT, check=False).returncode not in (0, _NONE):
            failed.append(" ".join(part))
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
