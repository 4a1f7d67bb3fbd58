"""``rethined-lint``: which operators of an artifact an accelerator will run."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rethined_export.cli.common import (
    noting_failure,
    out,
    parser,
    print_table,
    run,
    say,
    tell_entries,
)
from rethined_export.errors import OperatorError

_EXAMPLES = """\
  rethined-lint dist/*.tflite --accelerator litert-gpu
  rethined-lint dist/*.mlpackage --accelerator ane --strict
  rethined-lint model.onnx --accelerator all --json
"""
#: An example of several tensors is cut at this length.
_WIDTH = 72


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run(_main, arguments)


def _parser() -> ArgumentParser:
    from rethined_export.lint.report import ALL
    from rethined_export.lint.rules import accelerators

    made = parser(
        "rethined-lint",
        "Say which operators of saved artifacts, of this tool or another, an accelerator runs, "
        "from the file and from published rules. Exit codes: 0 done, 2 unusable file, 5 an "
        "operator falls back (--strict), 6 the packages that read the file are not installed.",
        _EXAMPLES,
    )
    add = made.add_argument
    add("artifacts", nargs="+", type=Path, metavar="ARTIFACT", help="file or .mlpackage folder")
    add("--accelerator", required=True, choices=(*accelerators(), ALL),
        help=f"whose rules; {ALL}: of every one that runs the file's format")  # fmt: skip
    add("--strict", action="store_true", help="exit 5 when an operator is known to fall back")
    add("--json", action="store_true", help="one JSON document, with every operator")
    return made


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    entries = [_check(artifact, options) for artifact in options.artifacts]
    return tell_entries(entries, options.json, _show)


def _check(artifact: Path, options: Namespace) -> dict[str, Any]:
    """The entry of ``--json`` for one artifact, whatever happens to it."""
    from rethined_export.lint.report import read_graph, report, rule_books
    from rethined_export.lint.rules import FALLS_BACK

    entry: dict[str, Any] = {
        "path": str(artifact),
        "target": None,
        "notes": [],
        "accelerators": [],
        "failure": None,
        "exit_code": 0,
    }
    with noting_failure(entry):
        books = rule_books(options.accelerator, artifact)
        graph = read_graph(artifact)
        entry |= {"target": graph.target, "notes": list(graph.notes)}
        entry["accelerators"] = [report(book, graph) for book in books]
    refused = {found["accelerator"]: found["counts"][FALLS_BACK] for found in entry["accelerators"]}
    if options.strict and any(refused.values()):
        named = ", ".join(f"{count} on {name}" for name, count in refused.items() if count)
        entry |= {
            "failure": f"operators that fall back: {named}",
            "exit_code": OperatorError.exit_code,
        }
    return entry


def _show(entry: dict[str, Any]) -> None:
    from rethined_export.lint.rules import FALLS_BACK, RUNS, UNKNOWN

    for found in entry["accelerators"]:
        counts, parts = found["counts"], found["partitions"]
        say(out, f"{Path(entry['path']).name} on {found['accelerator']} ({found['about']})")
        total = sum(counts.values())
        listed = f"{counts[RUNS]} run, {counts[FALLS_BACK]} fall back, {counts[UNKNOWN]} unknown"
        say(out, f"  {total} operators: {listed}")
        say(out, f"  multiply-adds: {_share(found['multiply_adds'])}")
        text = f"  partitions: {parts['count']}"
        if parts["count_if_unknown_runs"] != parts["count"]:
            text += f", {parts['count_if_unknown_runs']} if what is unknown runs"
        if parts["taken"] < parts["count"]:
            text += (
                f", of which the largest {parts['taken']} taken by default, with "
                f"{_percent(parts['share'])} of the multiply-adds"
            )
        say(out, text)
        _show_findings(found["findings"])
    for note in entry["notes"]:
        say(out, f"note: {note}")


def _show_findings(findings: list[dict[str, Any]]) -> None:
    """A table, and under it the sources that it numbers."""
    if not findings:
        return
    sources = {found["source"]: found["source_date"] for found in findings}
    numbers = {url: f"[{number}]" for number, url in enumerate(sources, 1)}
    print_table([_HEADER, *(_row(found, numbers[found["source"]]) for found in findings)])
    for url, date in sources.items():
        say(out, f"  {numbers[url]} {url} ({date})")


def _share(cost: dict[str, Any]) -> str:
    text = f"{_percent(cost['share'])} of {cost['total'] / 1e9:.2f} G run"
    if cost["share_if_unknown_runs"] != cost["share"]:
        text += f", {_percent(cost['share_if_unknown_runs'])} if what is unknown does"
    if cost["uncounted_operators"]:
        text += f" ({cost['uncounted_operators']} operators could not be counted)"
    return text


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


_HEADER = ("  verdict", "operators", "multiply-adds", "such as", "why", "instead", "source")


def _row(found: dict[str, Any], source: str) -> tuple[str, ...]:
    example = found["example"]
    return (
        f"  {found['verdict']}",
        f"{found['count']} × {found['operator']}",
        f"{found['multiply_adds'] / 1e6:.0f} M" if found["multiply_adds"] else "-",
        example if len(example) <= _WIDTH else f"{example[: _WIDTH - 1]}…",
        found["why"],
        found["instead"] or "-",
        source,
    )
