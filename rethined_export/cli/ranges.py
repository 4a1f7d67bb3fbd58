"""``rethined-ranges``: which numbers of an artifact float16 does not hold."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rethined_export.cli.common import (
    err,
    noting_failure,
    out,
    parser,
    print_table,
    run,
    say,
    shortened,
    stages,
    tell_entries,
)
from rethined_export.errors import ParityError
from rethined_export.jobs.parent import OnStage

_EXAMPLES = """\
  rethined-ranges dist/*.onnx
  rethined-ranges dist/model.tflite --photos calibration/ --strict
  rethined-ranges theirs.mlpackage --json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run(_main, arguments)


def _parser() -> ArgumentParser:
    made = parser(
        "rethined-ranges",
        "Run artifacts on photos and name every number that float16, which phones' accelerators "
        "compute in, does not hold: results and sums near 65504 or beyond, divisors and constants "
        "that become zero; and what helps. Exit codes: 0 done, 2 unusable file, 3 something "
        "overflows or vanishes (--strict), 5 an operator cannot be run here, 6 runtime not "
        "installed.",
        _EXAMPLES,
    )
    add = made.add_argument
    add("artifacts", nargs="+", type=Path, metavar="ARTIFACT", help="file or .mlpackage folder")
    add("--photos", type=Path, metavar="DIR",
        help="folder of photos to run on; default: bundled photos")  # fmt: skip
    add("--checkpoint", type=Path, action="append", metavar="FILE",
        help="where the weights of a pair lie now; default: where the manifest says")  # fmt: skip
    add("--strict", action="store_true", help="exit 3 when something overflows or vanishes")
    add("--json", action="store_true", help="one JSON document, with every operator")
    return made


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    with stages(err) as on_stage:
        entries = [_check(artifact, options, on_stage) for artifact in options.artifacts]
    return tell_entries(entries, options.json, _show)


def _check(artifact: Path, options: Namespace, on_stage: OnStage) -> dict[str, Any]:
    """The entry of ``--json`` for one artifact, whatever happens to it."""
    from rethined_export.ranges.findings import OVERFLOWS, VANISHES
    from rethined_export.ranges.report import ranges

    def stage(text: str) -> None:
        on_stage(artifact.name, text)

    entry: dict[str, Any] = {"path": str(artifact), "failure": None, "exit_code": 0}
    with noting_failure(entry):
        entry |= ranges(artifact, options.photos, tuple(options.checkpoint or ()), stage)
    if entry["failure"]:
        return entry
    lost = {verdict: entry["counts"][verdict] for verdict in (OVERFLOWS, VANISHES)}
    if options.strict and any(lost.values()):
        listed = ", ".join(f"{count} {verdict}" for verdict, count in lost.items() if count)
        entry |= {
            "failure": f"float16 does not hold it: {listed}",
            "exit_code": ParityError.exit_code,
        }
    return entry


def _show(entry: dict[str, Any]) -> None:
    if "findings" not in entry:
        return
    from rethined_export.ranges.report import cannot_overflow

    say(out, f"{Path(entry['path']).name} on {', '.join(entry['inputs'])} ({entry['runtime']})")
    operators = entry["operators"]
    most = max(operators, key=lambda one: one["largest"], default=None)
    if most is not None:
        say(
            out,
            f"  largest of {len(operators)} results: {most['largest']:.4g} "
            f"({most['operator']} {shortened(most['name'])})",
        )
        safe = cannot_overflow(operators)
        say(out, f"  {safe} of them cannot pass 65504, whatever the photo")
    listed = ", ".join(f"{count} {verdict}" for verdict, count in entry["counts"].items())
    say(out, f"  in float16: {listed}")
    _show_findings(entry["findings"])
    for note in entry["notes"]:
        say(out, f"note: {note}")


def _show_findings(findings: list[dict[str, Any]]) -> None:
    """A table, alike ones together."""
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for one in findings:
        magnitude = f"{one['magnitude']:.3g}"
        key = (one["verdict"], one["operator"], one["what"], magnitude, one["why"], one["instead"])
        alike.setdefault(key, []).append(one)
    if alike:
        header = ("  verdict", "operators", "such as", "what", "magnitude", "why", "instead")
        print_table([header, *(_row(key, group) for key, group in alike.items())])


def _row(key: tuple[str, ...], group: list[dict[str, Any]]) -> tuple[str, ...]:
    verdict, operator, *rest = key
    such = f"{group[0]['number']} {shortened(group[0]['name'])}"
    return (f"  {verdict}", f"{len(group)} × {operator}", such, *rest)
