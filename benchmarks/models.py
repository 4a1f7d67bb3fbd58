"""What each model costs in each target, and what our rewrites gain over a plain export.

Run by ``make bench-models``. Weights are seeded stand-ins: neither size nor time depends on them.
Times are of one machine; ratios come from runs in turn in one process. Writes
``benchmarks/results/models.{json,md,png}``.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rethined_export.artifacts import tool_versions
from rethined_export.converters import TARGETS, converter
from rethined_export.converters.types import Array, run_program
from rethined_export.export import Exported, ExportRequest, export
from rethined_export.jobs.memory import peak_rss_bytes
from rethined_export.lint.report import read_graph
from rethined_export.recipes import recipe
from rethined_export.recipes.options import Options
from rethined_export.spec import ExportSpec, load_reference

RESULTS = Path(__file__).parent / "results"
THREADS = 2
#: Runs in turn that count, after one that does not.
REPEATS = 3
#: Most seconds and GiB of a conversion.
MOST_SECONDS, MOST_GIB = 150, 8


@dataclass(frozen=True)
class Subject:
    """One model, and how much faster than a plain export it must be; 0: no plain one."""

    model: str
    options: Options
    least_ratio: float
    targets: tuple[str, ...] = tuple(TARGETS)


def subjects() -> list[Subject]:
    """Every model at the size it is used at."""
    from rethined_export.recipes.aot_gan.options import AotGanOptions
    from rethined_export.recipes.context_encoder.options import ContextEncoderOptions
    from rethined_export.recipes.deepfill.options import DeepfillOptions
    from rethined_export.recipes.dfnet.options import DfNetOptions
    from rethined_export.recipes.hifill.options import HiFillOptions
    from rethined_export.recipes.lama.options import LamaOptions
    from rethined_export.recipes.migan.options import MiGanOptions
    from rethined_export.recipes.partial_conv.options import PartialConvOptions
    from rethined_export.recipes.pmrf.options import PmrfOptions
    from rethined_export.recipes.repaint.options import RepaintOptions
    from rethined_export.recipes.rethined.options import RethinedOptions
    from rethined_export.recipes.twostage.options import TwoStageOptions

    return [
        Subject("deepfill", DeepfillOptions(), 1.0),
        Subject("lama", LamaOptions(preset="big"), 1.5),
        Subject("migan", MiGanOptions(preset="512"), 1.0),
        Subject("partial-conv", PartialConvOptions(), 1.0),
        Subject("aot-gan", AotGanOptions(), 1.0),
        Subject("context-encoder", ContextEncoderOptions(), 1.0),
        Subject("dfnet", DfNetOptions(), 1.0),
        Subject("two-stage", TwoStageOptions(), 1.0),
        Subject("hifill", HiFillOptions(), 1.0),
        Subject("pmrf", PmrfOptions(), 0.0),
        # TFLite's files end at 2 GB, and the interpreter's time of Core ML's says nothing.
        Subject("repaint", RepaintOptions(), 0.0, targets=("onnx",)),
        Subject("rethined", RethinedOptions(hr=1024), 0.0),
    ]


def main() -> None:
    """Measure everything and write the table and its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="+", help="only these; other rows stay as they are")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--naive", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.naive is not None:
        _convert_naive(options.naive[0], Path(options.naive[1]))
        return
    if options.measure is not None:
        target, ours, naive = options.measure
        print(json.dumps(_times(target, Path(ours), Path(naive))))
        return
    chosen = [s for s in subjects() if options.model is None or s.model in options.model]
    RESULTS.mkdir(exist_ok=True)
    for subject in chosen:
        with tempfile.TemporaryDirectory() as folder:
            figures = _figures(subject.model, _rows(subject, Path(folder)))
        # After each model: what was measured is kept, whatever comes next.
        (RESULTS / "models.json").write_text(json.dumps(figures, indent=2) + "\n")
        (RESULTS / "models.md").write_text(report(figures))
        _plot(figures["rows"], RESULTS / "models.png")
    print(report(figures))


def _figures(model: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows of a model beside those of others measured before, and what they were made with."""
    path = RESULTS / "models.json"
    before = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = rows + [row for row in before if row["model"] != model]
    order = [subject.model for subject in subjects()]
    return {
        "machine": f"{platform.machine()}, {THREADS} threads, {platform.system()}",
        "versions": {n: v for t in TARGETS for n, v in tool_versions(t).items()},
        "rows": sorted(rows, key=lambda row: order.index(row["model"])),
    }


def _rows(subject: Subject, folder: Path) -> list[dict[str, Any]]:
    """One model: each target's artifact, verified, and its time beside a plain export's."""
    shipped = recipe(subject.model).shipped(subject.options) is not None
    specs = tuple(
        ExportSpec(subject.model, target, subject.options, untrained=not shipped)
        for target in subject.targets
    )
    rows = []
    for made in export(ExportRequest(specs, folder), _show):
        if made.failure is not None:
            raise SystemExit(f"{made.path.name}: {made.failure}")
        rows.append(_row(subject, made, folder))
    return rows


def _row(subject: Subject, made: Exported, folder: Path) -> dict[str, Any]:
    assert made.manifest is not None
    assert made.parity is not None
    target = made.spec.target
    naive = folder / f"naive-{subject.model}.onnx"
    if target == "onnx" and subject.least_ratio:
        _show(target, "plain export")
        _run("--naive", subject.model, naive)
    _show(target, "timing")
    times = json.loads(_run("--measure", target, made.path, naive).splitlines()[-1])
    return {
        "model": subject.model,
        "preset": subject.options.preset,
        "size": str(subject.options.window),
        "target": target,
        "date": date.today().isoformat(),
        "parameters": made.parameters,
        "multiply_adds": sum(o.multiply_adds or 0 for o in read_graph(made.path).operators),
        "bytes": made.manifest.bytes,
        "over_weights": made.manifest.bytes / (4 * made.parameters),
        "seconds": made.seconds,
        "peak_gib": made.peak_rss_bytes / 2**30,
        "operators": sum(made.manifest.operators.values()),
        "max_abs": made.parity["max_abs"],
        "least_ratio": subject.least_ratio,
        **times,
    }


def _run(what: str, *arguments: object) -> str:
    command = [sys.executable, "-m", "rethined_export.benchmarks.models", what]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{what} {arguments} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def _show(first: str, second: str) -> None:
    print(f"{first}: {second}", file=sys.stderr, flush=True)


# --- One process each ----------------------------------------------------------------------------


def _convert_naive(model: str, path: Path) -> None:
    """The reference as it is written, by torch's own exporter, without any rewrite."""
    subject = next(s for s in subjects() if s.model == model)
    spec = ExportSpec(model, "onnx", subject.options, untrained=True)
    module = load_reference(spec).model
    inputs = spec.recipe.program(subject.options, module, "whole").inputs
    with torch.no_grad():
        program = run_program(module, inputs, ("output",), ())
        torch.onnx.export(
            program.module,
            tuple(program.inputs.values()),
            str(path),
            dynamo=True,
            input_names=list(program.inputs),
            output_names=["output"],
            verbose=False,
        )


def _times(target: str, ours: Path, naive: Path) -> dict[str, Any]:
    """Milliseconds of one run, and of the plain export's where there is one, run in turn."""
    from rethined_export.deployed import embedded_spec

    inputs = _inputs(embedded_spec(ours))
    load = converter(target).load
    with load(ours, THREADS) as fast:
        if not naive.exists() or target != "onnx":
            times = [_milliseconds(fast, inputs) for _ in range(REPEATS + 1)][1:]
            return {"ms": statistics.median(times), "ratio": None, "peak_run": peak_rss_bytes()}
        with load(naive, THREADS) as slow:
            pairs = [
                (_milliseconds(fast, inputs), _milliseconds(slow, inputs))
                for _ in range(REPEATS + 1)
            ][1:]
    return {
        "ms": statistics.median(pair[0] for pair in pairs),
        "ratio": statistics.median(slow / fast for fast, slow in pairs),
        "peak_run": peak_rss_bytes(),
    }


def _inputs(spec: ExportSpec) -> dict[str, Array]:
    scene = next(spec.recipe.scenes(spec.options, None, None))
    return {name: np.asarray(value, np.float32) for name, value in scene.inputs.items()}


def _milliseconds(runner: Any, inputs: dict[str, Array]) -> float:
    begun = time.perf_counter()
    runner(**inputs)
    return 1e3 * (time.perf_counter() - begun)


def report(figures: dict[str, Any]) -> str:
    """The figures as Markdown, each beside what it must reach."""
    versions = ", ".join(f"{name} {number}" for name, number in figures["versions"].items())
    dates = sorted({row["date"] for row in figures["rows"]})
    lines = [
        "# Models",
        "",
        f"Made by `make bench-models` on {' to '.join(dict.fromkeys((dates[0], dates[-1])))}; "
        f"{figures['machine']}; seeded stand-in weights but for RETHINED's shipped ones. "
        f"{versions}.",
        "",
        "Core ML's time is that of the ML Program interpreter off a Mac, and tells nothing of "
        "Apple's runtime. The ratio is the time of the reference through torch's own ONNX exporter "
        "over that of our artifact, run in turn. Multiply-adds are those of the artifact's "
        "convolutions and products; memory is the peak of a process that runs both. A file may "
        "weigh 1.05 times its weights in fp32, LaMa's 1.02 times. RePaint's run is one step of the "
        "2410 of a fill; its conversion may take 16 GB.",
        "",
        "| model | size | M parameters | target | file MB | ÷ weights | convert s "
        f"(≤ {MOST_SECONDS}) | peak GiB (≤ {MOST_GIB}) | operators | G multiply-adds "
        "| largest difference | run ms | run MB | plain ÷ ours |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        *map(_line, figures["rows"]),
        "",
        "![time against parameters](models.png)",
    ]
    return "\n".join(lines) + "\n"


def _line(row: dict[str, Any]) -> str:
    ratio = "–"
    if row["ratio"] is not None:
        ratio = f"{row['ratio']:.2f} (≥ {row['least_ratio']:g})"
    return (
        f"| {row['model']} {row['preset']} | {row['size']} | {row['parameters'] / 1e6:.1f} "
        f"| {row['target']} | {row['bytes'] / 1e6:.1f} | {row['over_weights']:.3f} "
        f"| {row['seconds']:.0f} | {row['peak_gib']:.2f} | {row['operators']} "
        f"| {row['multiply_adds'] / 1e9:.1f} | {row['max_abs']:.1e} | {row['ms']:.0f} "
        f"| {row['peak_run'] / 1e6:.0f} | {ratio} |"
    )


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Time of a fill against parameters, in the two runtimes that run here as on devices."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    picture, axes = plt.subplots(figsize=(8, 5), constrained_layout=True)
    for target, name, mark in (("onnx", "ONNX Runtime", "o"), ("tflite", "LiteRT", "s")):
        own = [row for row in rows if row["target"] == target]
        millions = [row["parameters"] / 1e6 for row in own]
        axes.plot(millions, [row["ms"] for row in own], mark, label=name)
        if target == "onnx":
            for row, place in zip(own, millions, strict=True):
                said = f"{row['model']}, {row['size']}"
                axes.annotate(said, (place, row["ms"]), xytext=(6, 4), textcoords="offset points",
                              fontsize=8)  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="million parameters", ylabel="ms of one run")
    axes.set_xlim(1, 2000)  # names stand to the right of their points
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend()
    picture.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
