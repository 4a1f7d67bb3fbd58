"""Results for other programs: Markdown and JUnit XML."""

from collections.abc import Sequence
from xml.etree import ElementTree

from rethined_export.benchmarks.bench import Result
from rethined_export.benchmarks.operators import tables
from rethined_export.benchmarks.profiles import Profile
from rethined_export.benchmarks.verdict import NOT_KNOWN, OVER

COLUMNS = (
    "artifact", "runtime", "p50", "p90", "p99", "load", "peak MB", "G instructions", "verdict",
)  # fmt: skip


def row(result: Result) -> tuple[str, ...]:
    """One line of the table; milliseconds."""
    if result.counted is not None:
        count = f"{result.counted.instructions / 1e9:.3f}"
        return (result.path.name, result.counted.runtime, *["–"] * 5, count, str(result.verdict))
    if result.tool is not None:
        return (result.path.name, result.tool.runtime, *_tool_cells(result), str(result.verdict))
    if result.measured is None or result.total is None:
        return (result.path.name, *["–"] * 7, str(result.verdict))
    total, done = result.total, result.measured
    times = (total.p50, total.p90, total.p99, done.load)
    return (
        result.path.name,
        done.runtime,
        *(f"{value:.1f}" for value in times),
        f"{done.peak_rss_bytes / 1e6:.0f}",
        "–",
        str(result.verdict),
    )


def _tool_cells(result: Result) -> tuple[str, ...]:
    """Of inference alone, as the verdict beside it says."""
    assert result.tool is not None
    figures = [getattr(result.inference, name, None) for name in ("p50", "p90", "p99")]
    times = [*figures, result.tool.load]
    peak = result.tool.peak_rss_bytes
    return (
        *("–" if value is None else f"{value:.1f}" for value in times),
        "–" if peak is None else f"{peak / 1e6:.0f}",
        "–",
    )


def markdown(profile: Profile, results: Sequence[Result], budget: str) -> str:
    """A table under a line that says where its figures come from."""
    where = ", ".join(sorted({result.provenance for result in results}))
    lines = [
        f"# {profile.name}",
        "",
        f"Milliseconds of one fill, 8-bit photo to 8-bit photo, a tenth of it hole, or of "
        f"inference alone where the verdict says so; {where}; "
        f"budget {budget}. Instructions: of one run of the artifact, on one emulated core.",
        "",
        *_table([COLUMNS, *(row(result) for result in results)]),
    ]
    states = [f"- {r.path.name}: {r.device}" for r in results if r.device is not None]
    lines += ["", "The device around each run:", "", *states] if states else []
    for result in results:
        if result.operators is not None:
            lines += ["", f"## {result.path.name}", "", f"{result.operators}."]
            lines += [line for rows in tables(result.operators) for line in ("", *_table(rows))]
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *body = ["| " + " | ".join(cells) + " |" for cells in rows]
    return [head, "|" + "---|" * len(rows[0]), *body]


def junit(profile: Profile, results: Sequence[Result]) -> str:
    """One test case for each artifact: over the budget fails, not known is skipped."""
    suite = ElementTree.Element(
        "testsuite",
        name=f"rethined-bench {profile.id}",
        tests=str(len(results)),
        failures=str(sum(result.verdict.answer == OVER for result in results)),
        errors=str(sum(bool(result.failure) for result in results)),
    )
    for result in results:
        timed = result.total or result.inference
        seconds = "0" if timed is None else f"{(timed.p50 or timed.mean) / 1e3:.6f}"
        case = ElementTree.SubElement(
            suite, "testcase", classname=profile.id, name=result.path.name, time=seconds
        )
        if result.failure:
            ElementTree.SubElement(case, "error", message=result.failure)
        elif result.verdict.answer == OVER:
            ElementTree.SubElement(case, "failure", message=str(result.verdict))
        elif result.verdict.answer == NOT_KNOWN:
            ElementTree.SubElement(case, "skipped", message=str(result.verdict))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
