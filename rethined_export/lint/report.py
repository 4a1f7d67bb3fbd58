"""What the rules say of a whole artifact: figures, parts, and what hinders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rethined_export.converters import TARGETS, installed, target_of
from rethined_export.converters.types import ArtifactError
from rethined_export.errors import UserError
from rethined_export.lint.graph import Graph, Value
from rethined_export.lint.partitions import partitions
from rethined_export.lint.rules import (
    FALLS_BACK,
    FOLDER,
    RUNS,
    UNKNOWN,
    VERDICTS,
    Judgement,
    RuleBook,
    accelerators,
    judge,
    read_rules,
)

ALL = "all"


def read_graph(path: Path) -> Graph:
    """An artifact's operators, whoever wrote it.

    Raises:
        ArtifactError: no artifact, or a damaged one.
        MissingConverterError: the packages that read it are not installed.
    """
    target = target_of(path)
    if not path.exists():
        raise ArtifactError(f"{path} does not exist")
    with installed(target):
        if target == "tflite":
            from rethined_export.lint.tflite import read
        elif target == "onnx":
            from rethined_export.lint.onnx import read
        else:
            from rethined_export.lint.coreml import read
    return read(path)


def rule_books(accelerator: str, path: Path) -> list[RuleBook]:
    """The rules to judge an artifact by; ``all`` is every accelerator that runs its format.

    Raises:
        UserError: the accelerator does not run this format.
        ArtifactError: no target writes such files.
    """
    target = target_of(path)
    names = accelerators() if accelerator == ALL else (accelerator,)
    books = [read_rules(FOLDER / f"{name}.toml") for name in names]
    if accelerator != ALL and target not in books[0].targets:
        suffixes = " and ".join(TARGETS[name].suffix for name in books[0].targets)
        raise UserError(
            f"{accelerator} runs {suffixes} files, not {path.name}; "
            f"--accelerator {ALL} asks about all that run it"
        )
    return [book for book in books if target in book.targets]


def report(book: RuleBook, graph: Graph) -> dict[str, Any]:
    """Figures of one artifact on one accelerator, as ``--json`` prints them.

    Operators that nothing is known of count as falling back, and as running in what is called
    ``…_if_unknown_runs``. ``taken`` is what is left where the runtime's defaults
    take only some of the parts.
    """
    judged = judge(book, graph.operators)
    parts = _accelerated(judged, {RUNS})
    taken = sorted(parts, key=len, reverse=True)[: book.most_partitions]
    counts = Counter(one.verdict for one in judged)
    costs = [one.operator.multiply_adds for one in judged]
    by_verdict = {
        verdict: _total(judged, [n for n, one in enumerate(judged) if one.verdict == verdict])
        for verdict in VERDICTS
    }
    total = sum(by_verdict.values())
    return {
        "accelerator": book.accelerator,
        "about": book.about,
        "counts": {verdict: counts[verdict] for verdict in VERDICTS},
        "multiply_adds": {
            "total": total,
            "uncounted_operators": costs.count(None),
            "share": _share(by_verdict[RUNS], total),
            "share_if_unknown_runs": _share(by_verdict[RUNS] + by_verdict[UNKNOWN], total),
        },
        "partitions": {
            "count": len(parts),
            "count_if_unknown_runs": len(_accelerated(judged, {RUNS, UNKNOWN})),
            "taken": len(taken),
            "share": _share(_total(judged, [n for part in taken for n in part]), total),
        },
        "findings": _findings(judged),
        "operators": [_entry(one) for one in judged],
    }


def _accelerated(judged: Sequence[Judgement], verdicts: set[str]) -> list[list[int]]:
    """The parts that the accelerator gets, where operators of these verdicts run."""
    runs = [one.verdict in verdicts for one in judged]
    parts = partitions([one.operator for one in judged], runs)
    return [part for part in parts if runs[part[0]]]


def _total(judged: Sequence[Judgement], numbers: Sequence[int]) -> int:
    return sum(judged[number].operator.multiply_adds or 0 for number in numbers)


def _share(part: int, total: int) -> float | None:
    """None where there is nothing to share."""
    return part / total if total else None


def _findings(judged: Sequence[Judgement]) -> list[dict[str, Any]]:
    """What does not run, or needs care, alike operators together; the costly first."""
    groups: dict[tuple[str, str, str], list[Judgement]] = {}
    for one in judged:
        if one.verdict != RUNS or one.instead:
            groups.setdefault((one.verdict, one.operator.kind, one.why), []).append(one)
    findings = [
        {
            "verdict": verdict,
            "operator": kind,
            "count": len(group),
            "multiply_adds": sum(one.operator.multiply_adds or 0 for one in group),
            "why": why,
            "instead": group[0].instead,
            "source": group[0].source.url,
            "source_date": group[0].source.date,
            "example": _shown(group[0]),
        }
        for (verdict, kind, why), group in groups.items()
    ]
    return sorted(
        findings,
        key=lambda found: (
            -found["multiply_adds"],
            found["verdict"] != FALLS_BACK,
            -found["count"],
            found["operator"],
        ),
    )


def _entry(one: Judgement) -> dict[str, Any]:
    return {
        "name": one.operator.name,
        "operator": one.operator.kind,
        "tensors": _shown(one),
        "multiply_adds": one.operator.multiply_adds,
        "verdict": one.verdict,
        "why": one.why,
        "source": one.source.url,
        "source_date": one.source.date,
    }


def _shown(one: Judgement) -> str:
    """Types and shapes: ``float32[1,64,64,8] → float32[1,64,64,16]``."""
    read = [_tensor(value) for value in one.operator.given if not value.constant]
    written = [_tensor(value) for value in one.operator.outputs]
    return f"{', '.join(read)} → {', '.join(written)}"


def _tensor(value: Value) -> str:
    if value.shape is None:
        return f"{value.dtype or '?'}[?]"
    sizes = ",".join("?" if size is None else str(size) for size in value.shape)
    return f"{value.dtype or '?'}[{sizes}]"
