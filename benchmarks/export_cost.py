"""What exporting and running cost: conversion time and memory, file size, gather against dense.

Run by ``make bench-export``. Times depend on the machine; ratios come from one interleaved run. The
table goes to ``benchmarks/results/export_cost.md`` and its figures to ``export_cost.json``.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from rethined_export.artifacts import tool_versions
from rethined_export.benchmarks.flushing import flushing
from rethined_export.converters import TARGETS, converter
from rethined_export.export import Exported, ExportRequest, export
from rethined_export.jobs.memory import peak_rss_bytes
from rethined_export.photo.window import Window
from rethined_export.recipes.rethined.options import RethinedOptions
from rethined_export.spec import ExportSpec, default_spec

RESULTS = Path(__file__).parent / "results"
RESOLUTIONS = (512, 1024, 2048, 4096)
THREADS = 2
#: Figures that conversions and runs must keep to, by resolution.
TARGET_SECONDS = {2048: 90, 4096: 180}
TARGET_GIB = {2048: 6, 4096: 10}
TARGET_RATIO = {2048: 3, 4096: 4}
TARGET_SIZE_RATIO = 1.15
TARGET_RUN_GIB = 1.5


def main() -> None:
    """Measure everything and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hr", type=int, nargs="+", default=list(RESOLUTIONS))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--run-once", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run_once is not None:
        print(json.dumps(run_once(options.run_once)))
        return
    with tempfile.TemporaryDirectory() as folder:
        conversions = [c for hr in options.hr for c in convert_all(hr, Path(folder))]
        speed = [
            compare_upscales(hr, Path(folder), options.repeats)
            for hr in options.hr
            if hr in TARGET_RATIO
        ]
    figures = {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {THREADS} threads, {platform.system()}",
        "versions": {k: v for t in TARGETS for k, v in tool_versions(t).items()},
        "conversions": conversions,
        "speed": speed,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "export_cost.json").write_text(json.dumps(figures, indent=2) + "\n")
    (RESULTS / "export_cost.md").write_text(report(figures))
    print(report(figures))


def convert_all(hr: int, folder: Path) -> list[dict[str, Any]]:
    """Convert every target at one resolution; each runs in a process of its own."""
    results = _export(hr, "gather", tuple(TARGETS), folder)
    return [
        {
            "target": result.spec.target,
            "hr": hr,
            "seconds": result.seconds,
            "peak_gib": result.peak_rss_bytes / 2**30,
            "bytes": result.manifest.bytes,
            "over_weights": result.manifest.bytes / (4 * result.parameters),
        }
        for result in results
        if result.manifest is not None
    ]


def _export(hr: int, upscale: str, targets: tuple[str, ...], folder: Path) -> list[Exported]:
    specs = tuple(
        ExportSpec("rethined", t, RethinedOptions(hr=hr, upscale=upscale)) for t in targets
    )

    def show(target: str, stage: str) -> None:
        print(f"{hr} {upscale} {target}: {stage}", file=sys.stderr)

    results = list(export(ExportRequest(specs, folder, verify=False), show))
    for result in results:
        if result.failure is not None:
            raise SystemExit(f"{result.path.name}: {result.failure}")
    return results


def compare_upscales(hr: int, folder: Path, repeats: int) -> dict[str, Any]:
    """Whole graph, gather against dense, in ONNX Runtime, turn about in one process."""
    import numpy as np

    from rethined_export.photo.scenes import default_scenes

    [dense] = _export(hr, "dense", ("onnx",), folder)
    gather = folder / default_spec(Window.square(hr), "onnx").file_name()
    scene = next(iter(default_scenes(Window.square(hr))))
    inputs = {"image": scene.image.numpy(), "mask": scene.mask.numpy().astype(np.float32)}
    slow = flushing(dense.path, THREADS)
    with converter("onnx").load(gather, THREADS) as fast:
        pairs = [
            (_seconds(lambda: fast(**inputs)), _seconds(lambda: slow(**inputs)))
            for _ in range(repeats + 1)
        ][1:]
    once = subprocess.run(
        [sys.executable, "-m", __spec__.name, "--run-once", str(gather)],
        check=True,
        capture_output=True,
        text=True,
    )
    return {
        "hr": hr,
        "gather_ms": 1e3 * statistics.median(pair[0] for pair in pairs),
        "dense_ms": 1e3 * statistics.median(pair[1] for pair in pairs),
        "ratio": statistics.median(slow / fast for fast, slow in pairs),
        "ratio_range": [min(s / f for f, s in pairs), max(s / f for f, s in pairs)],
        **json.loads(once.stdout),
    }


def run_once(artifact: Path) -> dict[str, float]:
    """Peak memory of a process that only loads an ONNX artifact and runs it three times.

    The inputs are allocated here, and count.
    """
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
    feeds = {i.name: np.zeros(i.shape, np.float32) for i in session.get_inputs()}
    feeds["mask"][:, :, :256] = 1
    for _ in range(3):
        session.run(None, feeds)
    return {"run_peak_gib": peak_rss_bytes() / 2**30}


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def report(figures: dict[str, Any]) -> str:
    """The figures as Markdown, each beside what it must reach."""
    versions = ", ".join(f"{name} {number}" for name, number in figures["versions"].items())
    lines = [
        "# Cost of export",
        "",
        f"Made by `make bench-export` on {figures['date']}; {figures['machine']}; mobile preset, "
        f"shipped weights, k = 1. {versions}.",
        "",
        "| target | side | convert s | limit | peak GiB | limit | file MB | ÷ weights | limit |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in figures["conversions"]:
        hr = row["hr"]
        lines.append(
            f"| {row['target']} | {hr} | {row['seconds']:.1f} | {TARGET_SECONDS.get(hr, '–')} "
            f"| {row['peak_gib']:.2f} | {TARGET_GIB.get(hr, '–')} | {row['bytes'] / 1e6:.2f} "
            f"| {row['over_weights']:.3f} | {TARGET_SIZE_RATIO} |"
        )
    lines += [
        "",
        f"Whole graph in ONNX Runtime, {THREADS} threads, 5 % hole, median of interleaved runs, "
        "the dense one with subnormal numbers taken for zero:",
        "",
        "| side | gather ms | dense ms | dense ÷ gather (min–max) | at least | peak GiB | limit |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in figures["speed"]:
        low, high = row["ratio_range"]
        limit = TARGET_RUN_GIB if row["hr"] == 2048 else "–"
        lines.append(
            f"| {row['hr']} | {row['gather_ms']:.0f} | {row['dense_ms']:.0f} "
            f"| {row['ratio']:.2f} ({low:.2f}–{high:.2f}) | {TARGET_RATIO[row['hr']]} "
            f"| {row['run_peak_gib']:.2f} | {limit} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
