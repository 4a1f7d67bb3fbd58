"""A gate against regressions: instruction counts now and those of an earlier run."""

import json
from collections.abc import Sequence
from pathlib import Path

from rethined_export.benchmarks.bench import SCHEMA_VERSION, Result
from rethined_export.errors import UserError


def read_baseline(path: Path) -> dict[str, int]:
    """Instruction counts by file name, from what ``--json`` printed earlier.

    Raises:
        UserError: unreadable, or without a single count.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema_version"] != SCHEMA_VERSION:
            raise UserError(f"{path} is not of schema {SCHEMA_VERSION}; make it again")
        entries = document["results"]
        counts = {
            Path(entry["path"]).name: int(entry["instructions"])
            for entry in entries
            if entry["instructions"]
        }
    except OSError as error:
        raise UserError(f"cannot read baseline {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not what rethined-bench --json prints") from error
    if not counts:
        raise UserError(f"{path} holds no instruction count; make it with --device arm64-emulator")
    return counts


def regressions(
    results: Sequence[Result], baseline: dict[str, int], allowed: float
) -> list[tuple[Path, str]]:
    """Artifacts that take more instructions than allowed, or cannot be compared, and why.

    Args:
        allowed: share by which a count may grow.
    """
    found = []
    for result in results:
        if result.counted is None:
            continue
        before = baseline.get(result.path.name)
        if before is None:
            found.append((result.path, "the baseline has no count of it"))
            continue
        growth = result.counted.instructions / before - 1
        if growth > allowed:
            found.append((result.path, f"{growth:+.2%} instructions (at most {allowed:+.2%})"))
    return found
