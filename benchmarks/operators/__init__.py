"""Which operators of an artifact take the time: runs of their own, apart from the timed ones.

They run on zeros: what a picture shows hardly changes how long its filling takes.
"""

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rethined_export.benchmarks.subjects import RUNTIMES
from rethined_export.converters import installed, target_of
from rethined_export.jobs.registry import Report, job

#: Runs that do not count, and that do.
_WARM_UP, _RUNS = 3, 10
#: Rows that are kept.
_HEAVIEST = 10


@dataclass(frozen=True)
class Node:
    """Milliseconds of one run that the runtime says a node took.

    Attributes:
        kind: the runtime's name of the operator. name: the node's own.
        count: nodes that the runtime reports as one.
    """

    kind: str
    name: str
    ms: float
    count: int = 1


@dataclass(frozen=True)
class Row:
    """One node, or all nodes of one kind; share: of the time of all operators, 0 to 1."""

    operator: str
    count: int
    ms: float
    share: float


@dataclass(frozen=True)
class Operators:
    """The ten heaviest kinds of operators and the ten heaviest single ones, heaviest first.

    Attributes:
        ms: of all operators in one run, with the profiler on.
    """

    runtime: str
    threads: int
    runs: int
    ms: float
    kinds: tuple[Row, ...]
    nodes: tuple[Row, ...]

    def __str__(self) -> str:
        return (
            f"operators take {self.ms:.1f} ms a run, by {self.runtime}'s profiler on this machine "
            f"({self.runs} runs apart from the timed ones, threads: {self.threads})"
        )

    def to_dict(self) -> dict[str, Any]:
        """By name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> "Operators":
        """The other way."""
        rows = {part: tuple(Row(**row) for row in told[part]) for part in ("kinds", "nodes")}
        return cls(told["runtime"], told["threads"], told["runs"], told["ms"], **rows)


def profile(artifact: Path, threads: int) -> Operators:
    """Run an artifact, or one of several programs, with its runtime's own profiler.

    Raises:
        ArtifactError: it cannot be run, or the runtime says nothing of its operators.
    """
    target = target_of(artifact)
    with installed(target):
        module = importlib.import_module(f"{__name__}.{target}")
        nodes = module.node_times(artifact, threads, _WARM_UP, _RUNS)
    return heaviest(nodes, RUNTIMES[target], threads, _RUNS)


def heaviest(nodes: Sequence[Node], runtime: str, threads: int, runs: int) -> Operators:
    """Sum nodes by kind, and keep the heaviest of both.

    Args:
        nodes: at least one.
    """
    total = sum(node.ms for node in nodes)

    def row(name: str, some: Sequence[Node]) -> Row:
        ms = sum(node.ms for node in some)
        return Row(name, sum(node.count for node in some), ms, ms / total if total else 0.0)

    kinds: dict[str, list[Node]] = {}
    for node in nodes:
        kinds.setdefault(node.kind, []).append(node)
    return Operators(
        runtime,
        threads,
        runs,
        total,
        _first(row(kind, some) for kind, some in kinds.items()),
        _first(row(f"{node.kind} {node.name}", [node]) for node in nodes),
    )


def _first(rows: Iterable[Row]) -> tuple[Row, ...]:
    return tuple(sorted(rows, key=lambda row: -row.ms)[:_HEAVIEST])


def tables(operators: Operators) -> list[list[tuple[str, ...]]]:
    """Rows of text, each table under a head: kinds, then single operators."""
    return [
        [(head, "count", "ms", "share"), *(_cells(row) for row in rows)]
        for head, rows in (("kind", operators.kinds), ("operator", operators.nodes))
    ]


def _cells(row: Row) -> tuple[str, ...]:
    return row.operator, str(row.count), f"{row.ms:.2f}", f"{row.share:.1%}"


@job
def operators(report: Report, *, artifact: str, threads: int) -> dict[str, Any]:
    """The heaviest operators of an artifact, by the runtime's own profiler."""
    report("profiling")
    return profile(Path(artifact), threads).to_dict()
