"""The report of a benchmark as one HTML page that needs nothing else."""

import io
import platform
from collections.abc import Sequence
from datetime import date
from html import escape

from rethined_export.artifacts import Manifest, read_manifest
from rethined_export.benchmarks.bench import Result
from rethined_export.benchmarks.operators import tables
from rethined_export.benchmarks.profiles import Profile
from rethined_export.benchmarks.reports import COLUMNS, row
from rethined_export.benchmarks.runners import stand_in
from rethined_export.errors import UnavailableError, UserError

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 1.5em auto; max-width: 62em; padding: 0 1em }
table { border-collapse: collapse } td, th { padding: .25em .8em .25em 0; text-align: left }
tr + tr { border-top: 1px solid #ddd } .wide { overflow-x: auto }
svg { max-width: 100%; height: auto }
.note { color: #555; font-size: 14px }
"""


def page(profile: Profile, results: Sequence[Result], budget_ms: float, statistic: str) -> str:
    """The page: verdicts, times as they were measured, parity, machine and versions.

    Args:
        results: at least one.
    """
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{escape(profile.name)}</title><style>{_STYLE}</style>",
        f"<h1>{escape(profile.name)}</h1><p>{_about(profile, results)}</p>",
        "<div class='wide'>",
        _table([COLUMNS, *(row(result) for result in results)]),
        f"</div><p class='note'>Budget {budget_ms:g} ms at {escape(statistic)}. Times are of one "
        "fill, 8-bit photo to 8-bit photo, a tenth of it hole.</p>",
    ]
    if any(result.measured for result in results):
        parts += ["<h2>Every run, in order</h2>", _plot(results, budget_ms)]
    parts.append("<h2>Artifacts</h2>")
    parts += [_artifact(result) for result in results]
    machine = f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    parts.append(f"<p class='note'>Made by rethined-bench on {date.today()}; {machine}.</p></html>")
    return "\n".join(parts) + "\n"


def _about(profile: Profile, results: Sequence[Result]) -> str:
    where = {"host": "wall times of this machine", "on-device": "wall times of the device",
             "emulated": "an emulator's instruction counts, no times"}  # fmt: skip
    said = [f"Provenance of every figure: {where[results[0].provenance]}."]
    if instead := stand_in(profile):
        said.append(f"Run by {instead}.")
    if profile.soc:
        cores = ", ".join(f"{c.count} × {c.name} at {c.ghz:g} GHz" for c in profile.cores)
        said.append(f"{profile.soc}: {cores}.")
    return escape(" ".join(said))


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ["".join(f"<td>{escape(cell)}</td>" for cell in cells) for cells in rows]
    lines = "".join(f"<tr>{cells}</tr>" for cells in body)
    return f"<table><tr>{head.replace('td>', 'th>')}</tr>{lines}</table>"


def _plot(results: Sequence[Result], budget_ms: float) -> str:
    """Times against the number of the run, which shows drift and tails, and the budget."""
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as error:
        raise UnavailableError(
            "--report needs matplotlib: pip install 'rethined-export[bench]'"
        ) from error
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    picture, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
    for result in results:
        if result.measured is not None:
            axes.plot(result.measured.total, ".-", linewidth=0.6, label=result.path.name)
    axes.axhline(budget_ms, color="black", linestyle=":", label="budget")
    axes.set(xlabel="run", ylabel="ms", ylim=(0, None))
    axes.legend(fontsize=8)
    text = io.StringIO()
    picture.savefig(text, format="svg")
    plt.close(picture)
    return text.getvalue()[text.getvalue().index("<svg") :]


def _artifact(result: Result) -> str:
    """What its manifest says of an artifact: size, weights, parity, versions."""
    name = f"<h3>{escape(result.path.name)}</h3>"
    if result.failure:
        name += f"<p>{escape(result.failure)}</p>"
    try:
        manifest = read_manifest(result.path)
    except UserError as error:
        return f"{name}<p class='note'>{escape(str(error))}</p>"
    rows = [
        ("file", f"{manifest.bytes / 1e6:.2f} MB, sha256 {manifest.sha256[:16]}…"),
        ("weights", f"{manifest.weights}, sha256 {manifest.weights_sha256[:16]}…"),
        ("parity with torch", _parity(manifest)),
        ("operators", _operators(manifest)),
        ("made with", ", ".join(f"{n} {v}" for n, v in manifest.versions.items())),
    ]
    if result.counted is not None:
        rows.append(("arm64 against here", f"{result.counted.difference:.1e} at most"))
    return f"{name}<div class='wide'>{_table([('', ''), *rows])}</div>{_heaviest(result)}"


def _heaviest(result: Result) -> str:
    if result.operators is None:
        return ""
    made = "".join(f"<div class='wide'>{_table(rows)}</div>" for rows in tables(result.operators))
    return f"<p>{escape(str(result.operators))}</p>{made}"


def _parity(manifest: Manifest) -> str:
    parity = manifest.parity
    if parity is None or parity["passed"] is None:
        return "not run"
    held = "every gate held" if parity["passed"] else "FAILED"
    return f"{held}; largest difference in the hole {parity['max_abs']:.1e}"


def _operators(manifest: Manifest) -> str:
    most = sorted(manifest.operators.items(), key=lambda entry: -entry[1])
    return ", ".join(f"{count} {name}" for name, count in most)
