"""Reads the tables in ``rules/`` and judges operators by them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rethined_export.lint.conditions import CONDITIONS, holds
from rethined_export.lint.graph import Operator

FOLDER = Path(__file__).parent / "rules"
RUNS, FALLS_BACK, UNKNOWN = "runs", "falls back", "unknown"
VERDICTS = (RUNS, FALLS_BACK, UNKNOWN)
ANY = "*"


@dataclass(frozen=True)
class Source:
    """Where a rule's facts are written down.

    Attributes:
        url: a public page or source file. date: of the version that was read.
    """

    url: str
    date: str


@dataclass(frozen=True)
class Rule:
    """What becomes of some operators.

    Attributes:
        operators: their kinds; ``*`` is any.
        verdict: one of ``VERDICTS``. why: in words. instead: what to change, where that is known.
        when: conditions that all have to hold, by name (see ``conditions``).
    """

    operators: frozenset[str]
    verdict: str
    why: str
    source: Source
    instead: str = ""
    when: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RuleBook:
    """The rules of one accelerator; the first that applies decides.

    Attributes:
        accelerator: as ``--accelerator`` takes it. about: what runs it, in words.
        targets: formats that it runs.
        rules: in order; the last one applies to any operator.
        most_partitions: how many parts of a graph its runtime takes by default; None is all.
    """

    accelerator: str
    about: str
    targets: tuple[str, ...]
    rules: tuple[Rule, ...]
    most_partitions: int | None = None


@dataclass(frozen=True)
class Judgement:
    """What the rules say of one operator."""

    operator: Operator
    verdict: str
    why: str
    instead: str
    source: Source


def accelerators() -> tuple[str, ...]:
    """Names of those that there are rules for."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def read_rules(path: Path) -> RuleBook:
    """One accelerator's table.

    Raises:
        ValueError: it does not follow the schema (``docs/lint.md``).
    """
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    _check(path, table, {"about", "formats", "sources", "rule"}, {"most_partitions"})
    sources = {}
    for name, entry in table["sources"].items():
        _check(path, entry, {"url", "date"}, set())
        sources[name] = Source(entry["url"], str(entry["date"]))
    rules = tuple(_rule(path, entry, sources) for entry in table["rule"])
    if ANY not in rules[-1].operators or rules[-1].when:
        raise ValueError(f"{path}: the last rule has to apply to any operator")
    return RuleBook(
        path.stem, table["about"], tuple(table["formats"]), rules, table.get("most_partitions")
    )


def _rule(path: Path, entry: dict[str, Any], sources: dict[str, Source]) -> Rule:
    _check(path, entry, {"operators", "verdict", "why", "source"}, {"instead", "when"})
    when = entry.get("when", {})
    if strange := sorted(when.keys() - CONDITIONS.keys()):
        raise ValueError(f"{path}: no such condition: {', '.join(strange)}")
    if entry["verdict"] not in VERDICTS:
        raise ValueError(f"{path}: verdict {entry['verdict']!r}; use one of {', '.join(VERDICTS)}")
    if entry["source"] not in sources:
        raise ValueError(f"{path}: no source named {entry['source']!r}")
    return Rule(
        frozenset(entry["operators"]),
        entry["verdict"],
        entry["why"],
        sources[entry["source"]],
        entry.get("instead", ""),
        when,
    )


def _check(path: Path, table: dict[str, Any], needed: set[str], allowed: set[str]) -> None:
    if missing := sorted(needed - table.keys()):
        raise ValueError(f"{path}: missing {', '.join(missing)}")
    if strange := sorted(table.keys() - needed - allowed):
        raise ValueError(f"{path}: unknown key {', '.join(strange)}")


def judge(book: RuleBook, operators: Iterable[Operator]) -> list[Judgement]:
    """What becomes of each operator."""
    return [_judge(book, operator) for operator in operators]


def _judge(book: RuleBook, operator: Operator) -> Judgement:
    for rule in book.rules:
        if not rule.operators & {operator.kind, ANY}:
            continue
        applies = holds(rule.when, operator)
        if applies is None:
            why = f"the file does not tell what this depends on: {rule.why}"
            return Judgement(operator, UNKNOWN, why, rule.instead, rule.source)
        if applies:
            return Judgement(operator, rule.verdict, rule.why, rule.instead, rule.source)
    raise AssertionError("the last rule applies to any operator")
