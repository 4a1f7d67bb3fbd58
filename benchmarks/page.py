"""The report of a benchmark as one HTML page that needs nothing else."""

import io
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from html import escape
from pathlib import Path
from typing import Any

from rethined_export.artifacts import Manifest, read_manifest
from rethined_export.benchmarks.bench import Result
from rethined_export.benchmarks.machine import machine
from rethined_export.benchmarks.operators import tables
from rethined_export.benchmarks.pictures import pictures
from rethined_export.benchmarks.plots import plot, svg
from rethined_export.benchmarks.profiles import Profile
from rethined_export.benchmarks.reports import COLUMNS, row
from rethined_export.benchmarks.runners import stand_in
from rethined_export.benchmarks.runners.types import Spread
from rethined_export.benchmarks.timing import Summary
from rethined_export.errors import UserError
from rethined_export.jobs.parent import JobError
from rethined_export.output import write_bytes, write_text

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 1.5em auto; max-width: 62em; padding: 0 1em;
  overflow-wrap: anywhere }
h3 { margin: 2em 0 .5em; border-top: 2px solid #ddd; padding-top: 1em }
h2 + h3 { margin-top: 0; border: 0; padding: 0 }
h4 { margin: 1em 0 .25em }
.verdicts { padding: 0; list-style: none } li { margin: .5em 0 }
.wide { overflow-x: auto }
.wide svg { width: 100%; min-width: 40em; height: auto }
table { border-collapse: collapse; white-space: nowrap; font-variant-numeric: tabular-nums }
td, th { padding: .25em 1em .25em 0; text-align: right }
td:first-child, th:first-child { text-align: left }
tr + tr { border-top: 1px solid #ddd }
dl { display: grid; grid-template-columns: 9em 1fr; gap: .25em 1em }
dt { color: #555 } dd { margin: 0 }
.pictures { display: flex; gap: .5em }
figure { margin: 0; flex: 0 1 20em } img { width: 100%; display: block }
.note, figcaption { color: #555; font-size: 14px }
@media (max-width: 40em) { dl { display: block } dd { margin-bottom: .5em } }
"""
Rows = Sequence[Sequence[str]]


def write_report(
    path: Path,
    profile: Profile,
    results: Sequence[Result],
    budget_ms: float,
    statistic: str,
    tell: Callable[[str, str], None],
) -> None:
    """Write the page, and its plot beside it as PNG where anything was timed.

    Args:
        results: at least one.
        tell: called with an artifact's name and the stage of making its pictures.

    Raises:
        UnavailableError: matplotlib is not installed.
        UserError: one of them cannot be written.
    """
    drawn = ""
    if any(result.measured for result in results):
        figure = plot(results, budget_ms)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=150)
        write_bytes(path.with_suffix(".png"), picture.getvalue())
        drawn = f"<h2>Every run, and how they spread</h2><div class='wide'>{svg(figure)}</div>"
    shown = [
        f"<h1>rethined-bench: {escape(profile.name)}</h1><p>{_about(profile, results)}</p>",
        _verdicts(results, budget_ms, statistic),
        _table([_figures(COLUMNS), *(_figures(row(result)) for result in results)]),
        "<p class='note'>Milliseconds of one fill, 8-bit photo to 8-bit photo, a tenth of it hole; "
        "instructions of one run of the artifact, on one emulated core.</p>",
        drawn,
        "<h2>Artifacts</h2>",
        *(_artifact(result, tell) for result in results),
        f"<h2>This machine</h2>{_facts(machine())}",
        f"<p class='note'>Made by rethined-bench on {date.today()}.</p>",
    ]
    write_text(path, _page(profile.name, shown))


def _page(title: str, parts: Sequence[str]) -> str:
    head = (
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
    )
    return "\n".join((*head, *parts, "</html>")) + "\n"


def _about(profile: Profile, results: Sequence[Result]) -> str:
    where = {"host": "wall times of this machine", "on-device": "wall times of the device",
             "emulated": "an emulator's instruction counts, no times"}  # fmt: skip
    said = [f"Provenance: {where[results[0].provenance]}."]
    if profile.kind in ("browser", "webgpu"):
        said.append("They are of the browser on it.")
    if results[0].provenance == "emulated" and (instead := stand_in(profile)):
        said.append(f"Run by {instead}.")
    if profile.soc:
        cores = ", ".join(f"{c.count} × {c.name} at {c.ghz:g} GHz" for c in profile.cores)
        said.append(f"{profile.soc}: {cores}.")
    return escape(" ".join(said))


def _verdicts(results: Sequence[Result], budget_ms: float, statistic: str) -> str:
    """The answer first: each artifact, its figure where it has one, and what ran it."""
    lines = []
    for result in results:
        said = []
        if result.total is not None:
            said.append(f"{statistic} {getattr(result.total, statistic):.1f} ms")
        said.append(f"budget {budget_ms:g} ms")
        if ran := result.measured or result.counted or result.tool:
            said.append(ran.runtime)
        if result.verdict.reason:
            said.append(result.verdict.reason)
        lines.append(
            f"<li><b>{escape(result.verdict.answer)}</b>: {escape(result.path.name)}"
            f"<br><span class='note'>{escape('; '.join(said))}</span></li>"
        )
    return f"<ul class='verdicts'>{''.join(lines)}</ul>"


def _figures(cells: Sequence[str]) -> Sequence[str]:
    """A row without what the verdicts above it say: the runtime, and the verdict itself."""
    return (cells[0], *cells[2:-1])


def _table(rows: Rows) -> str:
    """The first row is the head; on a narrow screen the table scrolls by itself."""
    head, *body = ["".join(f"<td>{escape(cell)}</td>" for cell in cells) for cells in rows]
    lines = (f"<tr>{cells}</tr>" for cells in (head.replace("td>", "th>"), *body))
    return f"<div class='wide'><table>{''.join(lines)}</table></div>"


def _facts(facts: Mapping[str, str]) -> str:
    lines = (f"<dt>{escape(name)}</dt><dd>{escape(said)}</dd>" for name, said in facts.items())
    return f"<dl>{''.join(lines)}</dl>"


def _artifact(result: Result, tell: Callable[[str, str], None]) -> str:
    """Times, pictures, and what its manifest says: size, weights, parity, versions."""
    parts = [f"<h3>{escape(result.path.name)}</h3>"]
    if result.failure:
        parts.append(f"<p>{escape(result.failure)}</p>")
    if result.total or result.inference:
        parts += ["<h4>Milliseconds</h4>", _times(result)]
    parts += [_heaviest(result), _pictures(result, tell)]
    try:
        manifest = read_manifest(result.path)
    except UserError as error:
        return "".join([*parts, f"<p class='note'>{escape(str(error))}</p>"])
    return "".join([*parts, "<h4>Parity with torch, when it was exported</h4>", _parity(manifest),
                    "<h4>Facts</h4>", _facts(_known(result, manifest))])  # fmt: skip


def _times(result: Result) -> str:
    """Of a fill and its parts, or of inference alone; – is what a tool does not tell."""
    columns = ("min", "p50", "p90", "p95", "p99", "max", "mean", "std")
    timed: dict[str, Summary | Spread | None] = {"inference": result.inference}
    if result.tool is not None and result.tool.parts is not None:
        timed = {**result.tool.parts, "whole fill": result.inference}
    if result.parts is not None:
        timed = {**result.parts, "whole fill": result.total}
    rows = []
    for name, summary in timed.items():
        if summary is not None:
            figures = [getattr(summary, column, None) for column in columns]
            rows.append((name, *("–" if f is None else f"{f:.2f}" for f in figures)))
    return _table([("", *columns), *rows])


def _pictures(result: Result, tell: Callable[[str, str], None]) -> str:
    """This machine's own fill of a photo: whatever ran elsewhere may differ by the gate at most."""
    if result.failure:
        return ""
    try:
        shown = pictures(result.path, lambda stage: tell(result.path.name, stage))
    except JobError as error:
        return f"<p class='note'>No pictures: {escape(str(error))}</p>"
    figures = (
        f"<figure><img alt='{caption}' src='data:image/png;base64,{b64encode(png).decode()}'>"
        f"<figcaption>{caption}</figcaption></figure>"
        for caption, png in shown.items()
    )
    note = "<p class='note'>A bundled photo where its hole is largest, filled on this machine.</p>"
    return f"<h4>Pictures</h4><div class='pictures'>{''.join(figures)}</div>{note}"


def _known(result: Result, manifest: Manifest) -> dict[str, str]:
    facts = {
        "file": f"{manifest.bytes / 1e6:.2f} MB, sha256 {manifest.sha256}",
        "weights": f"{manifest.weights}, sha256 {manifest.weights_sha256}",
        "operators": _operators(manifest),
        "made with": ", ".join(f"{n} {v}" for n, v in manifest.versions.items()),
    }
    if result.measured is not None:
        made = result.measured
        facts["runs"] = f"{len(made.total)} after {made.warm_up} to warm up"
        facts["first run"] = f"{made.first:.1f} ms, after {made.load:.1f} ms to load"
    if result.difference is not None:
        facts["its output"] = f"at most {result.difference:.1e} from this machine's own"
    if result.device is not None:
        facts["device"] = str(result.device)
    return facts


def _heaviest(result: Result) -> str:
    if result.operators is None:
        return ""
    made = "".join(_table(rows) for rows in tables(result.operators))
    return f"<h4>Heaviest operators</h4><p>{escape(str(result.operators))}</p>{made}"


def _parity(manifest: Manifest) -> str:
    """Of each photo it was compared on when it was exported; in the hole only."""
    parity = manifest.parity
    if parity is None or parity["passed"] is None:
        return "<p>not run</p>"
    held = "Every gate held" if parity["passed"] else "FAILED"
    gate = parity["gates"]["max_abs"]
    said = f"<p>{held}: {parity['max_abs']:.1e} at most in the hole (gate {gate:.0e}).</p>"
    head = ("photo", "hole", "largest", "mean", "PSNR, dB", "index flips", "unexplained")
    return said + _table([head, *map(_scene, parity["scenes"])])


def _scene(scene: Mapping[str, Any]) -> tuple[str, ...]:
    choice = scene["choice"]
    return (
        scene["scene"],
        f"{scene['cover']:.0%}",
        f"{scene['max_abs']:.1e}",
        f"{scene['mean_abs']:.1e}",
        f"{scene['psnr_hole_db']:.0f}",
        *("–" if choice is None else str(choice[name]) for name in ("flips", "unexplained")),
    )


def _operators(manifest: Manifest) -> str:
    most = sorted(manifest.operators.items(), key=lambda entry: -entry[1])
    return ", ".join(f"{count} {name}" for name, count in most)
