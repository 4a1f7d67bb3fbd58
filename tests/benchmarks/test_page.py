"""The report: what it says, that it stands alone, and that a phone can show it."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rethined_export.artifacts import read_manifest
from rethined_export.benchmarks import page
from rethined_export.benchmarks.bench import Result
from rethined_export.benchmarks.browser.chromium import chromium
from rethined_export.benchmarks.browser.server import served
from rethined_export.benchmarks.profiles import load_profiles
from rethined_export.benchmarks.runners.types import Counted, Measured, Spread, ToolRun
from rethined_export.benchmarks.timing import summarise
from rethined_export.benchmarks.verdict import NOT_KNOWN, OVER, Verdict
from tests.cli.commands import edit_manifest
from tests.copies import copied

PARITY = {
    "passed": True,
    "max_abs": 4.8e-7,
    "gates": {"max_abs": 1e-4},
    "scenes": [
        {"scene": "astronaut", "cover": 0.05, "max_abs": 3.6e-7, "mean_abs": 2.5e-8,
         "psnr_hole_db": 147.05, "choice": {"flips": 2, "unexplained": 1}},
        {"scene": "a<b", "cover": 0.5, "max_abs": 4.8e-7, "mean_abs": 2.5e-8,
         "psnr_hole_db": 200.0, "choice": None},
    ],
}  # fmt: skip


def timed(artifact: Path, difference: float | None = None) -> Result:
    inference = np.random.default_rng(0).uniform(40, 60, 30)
    made = Measured(
        "ONNX Runtime", inference / 10, inference, inference / 20, 153.8, 99.9, 12, 10**8,
        difference,
    )  # fmt: skip
    parts = {name: summarise(getattr(made, name)) for name in ("before", "inference", "after")}
    return Result(artifact, "host", Verdict(OVER), made, summarise(made.total), parts)


@pytest.fixture(scope="module")
def report(onnx_512: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one timed artifact with parity figures, and one that failed."""
    folder = tmp_path_factory.mktemp("report")
    artifact = copied(onnx_512, folder / "copy")
    edit_manifest(artifact, lambda facts: facts.update(parity=PARITY))
    failed = Result(folder / "b.onnx", "host", Verdict(NOT_KNOWN, "none"), failure="<it died>")
    path = folder / "bench.html"
    results = [timed(artifact, difference=1.8e-7), failed]
    profile = load_profiles()["chromium"]
    page.write_report(path, profile, results, 30.0, "p90", lambda *_stage: None)
    return path


def test_it_says_what_is_known(report: Path) -> None:
    html = report.read_text()
    p90 = timed(report).total
    assert p90 is not None and f"p90 {p90.p90:.1f} ms; budget 30 ms; ONNX Runtime" in html
    for said in (
        "wall times of this machine",
        "Every gate held: 4.8e-07 at most in the hole (gate 1e-04)",
        "<td>astronaut</td><td>5%</td><td>3.6e-07</td><td>2.5e-08</td><td>147</td><td>2</td>"
        "<td>1</td>",
        "<td>a&lt;b</td>",
        "&lt;it died&gt;",
        "30 after 12 to warm up",
        "at most 1.8e-07 from this machine&#x27;s own",
        "<dt>processor</dt>",
    ):
        assert said in html


def test_it_stands_alone(report: Path) -> None:
    html = report.read_text()
    assert html.count("data:image/png;base64,") == 3 and html.count("<svg") == 1
    assert not re.search(r"(src|href|url)(=['\"]?|\()(https?:)?//", html)
    with Image.open(report.with_suffix(".png")) as plot:
        assert plot.format == "PNG" and plot.width > 1000


def test_a_count_has_no_plot(onnx_512: Path, tmp_path: Path) -> None:
    counted = Counted("ONNX Runtime on cortex-a76", 3 * 10**9, 1e-7)
    result = Result(onnx_512, "emulated", Verdict(NOT_KNOWN, "a band"), counted=counted)
    path = tmp_path / "bench.html"
    profile = load_profiles()["arm64-emulator"]
    page.write_report(path, profile, [result], 30.0, "p90", lambda *_stage: None)
    html = path.read_text()
    assert "<svg" not in html and "instruction counts, no times" in html and "3.000" in html
    assert not path.with_suffix(".png").exists()
    assert page._parity(read_manifest(onnx_512)) == "<p>not run</p>"


def test_a_tool_has_inference_alone(onnx_512: Path, tmp_path: Path) -> None:
    spread = Spread(runs=9, min=4.5, mean=5.5, max=6.5, std=0.25, p50=None, p95=None)
    run = ToolRun("LiteRT tool", spread, None, None, 3, None, None)
    failed = Result(onnx_512, "on-device", Verdict(NOT_KNOWN, "why"), tool=run, inference=spread,
                    failure="no pictures, please")  # fmt: skip
    path = tmp_path / "bench.html"
    profile = load_profiles()["pixel7"]
    page.write_report(path, profile, [failed], 30.0, "p90", lambda *_stage: None)
    cells = ("inference", "4.50", "–", "–", "–", "–", "6.50", "5.50", "0.25")
    html = path.read_text()
    assert "".join(f"<td>{cell}</td>" for cell in cells) in html
    assert "budget 30 ms; LiteRT tool; why" in html and "<svg" not in html


def test_nothing_sticks_out_on_a_phone(browser_here: str, report: Path, tmp_path: Path) -> None:
    frame = tmp_path / "frame.html"
    frame.write_text(
        "<iframe src='/report' width='390' height='844' onload=\"\n"
        "  fetch('/failed', { method: 'POST', body:\n"
        '    String(this.contentDocument.documentElement.scrollWidth) })"></iframe>'
    )
    with (
        served({"/": frame, "/report": report}) as site,
        chromium(site.address, tmp_path),
    ):
        kind, width = site.answers.get(timeout=60)
    assert kind == "failed" and 300 < int(width) <= 390
