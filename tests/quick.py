"""``make quick``: the unit tests of what changed since the last commit, without conversions."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Folders at the top that are linked into the package.
LINKED = ("models", "converters", "benchmarks")


def changed() -> list[Path]:
    """Python files that differ from the last commit, or are new."""
    commands = (
        ["git", "diff", "--name-only", "HEAD"],
        ["git", "ls-files", "--others", "--exclude-standard"],
    )
    lines = [
        line
        for command in commands
        for line in subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.splitlines()
    ]
    return [Path(line) for line in lines if line.endswith(".py") and (ROOT / line).exists()]


def tests_of(files: list[Path]) -> list[str]:
    """Test files that are among the changed ones, or import one of them."""
    names = []
    for file in files:
        parts = file.with_suffix("").parts
        if parts[0] == "tests":
            names.append(parts[-1])
            continue
        dotted = ".".join(("rethined_export", *parts) if parts[0] in LINKED else parts)
        names.append(dotted.removesuffix(".__init__"))
    if not names:
        return []
    wanted = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in names))
    found = []
    for test in sorted((ROOT / "tests").rglob("test_*.py")):
        own = test.relative_to(ROOT) in files
        if own or wanted.search(test.read_text(encoding="utf-8")):
            found.append(str(test.relative_to(ROOT)))
    return found


def main() -> int:
    """Run them; returns pytest's exit code, or 0 where nothing is to run."""
    tests = tests_of(changed())
    if not tests:
        print("nothing changed that a test imports")
        return 0
    command = [sys.executable, "-m", "pytest", "-m", "not slow and not conversion", *tests]
    return subprocess.run(command, cwd=ROOT, check=False).returncode in (1, 2, 3, 4)


if __name__ == "__main__":
    sys.exit(main())
