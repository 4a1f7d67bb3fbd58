"""What the harness adds to an inference, and how well instruction counts repeat.

Run by ``make bench-overhead``; needs ``make emulator``. A graph that does next to nothing is timed
as ``rethined-bench`` times artifacts and by a bare loop over its runtime, turn about in one
process: what the first takes longer is set against an inference of 5 ms. Instructions are counted
in processes of their own while every core is busy. Writes
``benchmarks/results/overhead.{json,md}``.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from rethined_export.artifacts import tool_versions
from rethined_export.benchmarks.arm64.system import CORE, system
from rethined_export.benchmarks.runners.arm64 import emulate
from rethined_export.benchmarks.subjects import RUNTIMES, noise_photo, subject
from rethined_export.benchmarks.timing import paired_ratio
from rethined_export.converters import TARGETS, converter
from rethined_export.export import ExportRequest, export
from rethined_export.jobs.parent import ENVIRONMENT
from rethined_export.photo.window import Window
from rethined_export.spec import default_spec

RESULTS = Path(__file__).parent / "results"
SIDE = 512
#: The inference whose time the overhead is a share of.
INFERENCE_MS = 5.0
#: Shares that may not be exceeded.
OVERHEAD, SPREAD = 0.02, 0.001
_WARM_UP, _PAIRS, _PROCESSES = 20, 400, 5

Inputs = dict[str, Any]


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turn-about", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.turn_about is not None:
        target, path = options.turn_about
        print(json.dumps(turn_about(target, Path(path))))
        return
    with tempfile.TemporaryDirectory(prefix="rethined-") as name:
        folder = Path(name)
        small = {target: _small(target, folder) for target in RUNTIMES}
        overheads = {target: compare(target, path) for target, path in small.items()}
        counts = {
            f"{RUNTIMES[target]}, {kind}": count_again(target, path, folder)
            for target in RUNTIMES
            for kind, path in (("sum", small[target]), ("artifact", _artifact(target, folder)))
        }
    figures = {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {platform.system()}, {os.cpu_count()} cores",
        "load_average": os.getloadavg()[2],
        "versions": {k: v for t in RUNTIMES for k, v in tool_versions(t).items()},
        "overheads": overheads,
        "counts": counts,
    }
    (RESULTS / "overhead.json").write_text(json.dumps(figures, indent=2) + "\n")
    (RESULTS / "overhead.md").write_text(report(figures))
    print(report(figures))


# --- Graphs --------------------------------------------------------------------------------------


def _small(target: str, folder: Path) -> Path:
    """Next to nothing, that calls itself a whole artifact."""
    import torch
    from torch import nn

    from rethined_export.converters.types import run_program

    class Sum(nn.Module):
        def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return image + mask

    spec = default_spec(Window.square(SIDE), target)
    inputs = {"image": torch.rand(1, 3, SIDE, SIDE), "mask": torch.zeros(1, 1, SIDE, SIDE)}
    metadata = {"rethined.spec": json.dumps(spec.to_dict())}
    path = folder / f"small{TARGETS[target].suffix}"
    program = run_program(Sum().eval(), inputs, ("output",), ("image", "mask", "output"))
    converter(target).convert(replace(program, metadata=metadata), path)
    return path


def _artifact(target: str, folder: Path) -> Path:
    spec = default_spec(Window.square(SIDE), target)
    (result,) = export(ExportRequest((spec,), folder, verify=False), lambda *_: None)
    if result.failure is not None:
        raise SystemExit(f"{result.path.name}: {result.failure}")
    return result.path


def _inputs(target: str) -> Inputs:
    """A noise photo and its hole, in the artifact's own layouts."""
    photo, hole = noise_photo(Window.square(SIDE))
    image = photo[None].astype(np.float32) / np.float32(255)
    inputs = {"image": image, "mask": hole[None, ..., None].astype(np.float32)}
    if target == "tflite":
        return inputs
    return {n: np.ascontiguousarray(a.transpose(0, 3, 1, 2)) for n, a in inputs.items()}


# --- Time ----------------------------------------------------------------------------------------


def compare(target: str, path: Path) -> dict[str, float]:
    """Milliseconds of the graph in the harness and in a bare loop.

    In several processes, with the memory settings of a worker: where a process happens to lay its
    buffers changes a short run by more than what is looked for.

    Returns:
        Medians of both, and what becomes of ``INFERENCE_MS``: ratio and its 95 % interval.
    """
    pairs = []
    for number in range(_PROCESSES):
        _show(f"{path.name}: turn about, {number + 1} of {_PROCESSES}")
        done = subprocess.run(
            [sys.executable, "-m", __spec__.name, "--turn-about", target, str(path)],
            env=os.environ | ENVIRONMENT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        pairs += json.loads(done.stdout)
    ours, theirs = np.array(pairs).T
    whole = np.full_like(ours, INFERENCE_MS)
    ratio, low, high = paired_ratio(whole + ours - theirs, whole)
    return {
        "harness_ms": float(np.median(ours)),
        "bare_ms": float(np.median(theirs)),
        "ratio": ratio,
        "low": low,
        "high": high,
    }


def turn_about(target: str, path: Path) -> list[tuple[float, float]]:
    """Milliseconds of the graph in the harness, and beside it in a bare loop."""
    harness_ms, bare_ms = [], []
    with subject(path, 1) as fill:
        bare = _bare(target, path)

        def timed() -> float:
            inputs = _inputs(target)  # written just before, as in the harness: caches matter here
            begun = time.perf_counter()
            made = bare(inputs)
            done = time.perf_counter()
            del made  # giving memory back is not part of it, as in the harness
            return 1e3 * (done - begun)

        for _ in range((_WARM_UP + _PAIRS) // 2):  # each comes first half of the time
            harness_ms.append(fill().inference)
            bare_ms += [timed(), timed()]
            harness_ms.append(fill().inference)
    return list(zip(harness_ms, bare_ms, strict=True))[_WARM_UP:]


def _bare(target: str, path: Path) -> Callable[[Inputs], object]:
    """One inference, inputs to outputs, with nothing of ours around it."""
    if target == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda inputs: session.run(None, inputs)
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    places = {entry["name"]: entry["index"] for entry in interpreter.get_input_details()}
    (output,) = interpreter.get_output_details()

    def run(inputs: Inputs) -> object:
        for name, value in inputs.items():
            interpreter.set_tensor(places[name], value)
        interpreter.invoke()
        return interpreter.get_tensor(output["index"])

    return run


# --- Counts --------------------------------------------------------------------------------------


def count_again(target: str, path: Path, folder: Path) -> list[int]:
    """Instructions of one run, in processes one after the other, with every core busy."""
    np.savez(folder / "inputs.npz", **_inputs(target))
    counts = []
    with _busy_cores():
        for number in range(_PROCESSES):
            _show(f"{path.name}: emulating, {number + 1} of {_PROCESSES}")
            counts.append(emulate(system(), folder, path, target))
    return counts


@contextmanager
def _busy_cores() -> Iterator[None]:
    # Of low priority: no core idles, and the counted process still gets on.
    command = ["nice", "-n", "10", sys.executable, "-c", "while True: pass"]
    spinning = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def _show(stage: str) -> None:
    print(stage, file=sys.stderr, flush=True)


# --- Report --------------------------------------------------------------------------------------


def report(figures: dict[str, Any]) -> str:
    """The figures as Markdown, beside what they must reach."""
    versions = ", ".join(f"{name} {number}" for name, number in figures["versions"].items())
    lines = [
        "# What the harness adds, and how counts repeat",
        "",
        f"Made by `make bench-overhead` on {figures['date']}; {figures['machine']}, shared with "
        f"other work (load average over a quarter of an hour: {figures['load_average']:.1f}); "
        f"{versions}.",
        "",
        f"The sum of image and mask at {SIDE}, one thread: the `inference` of `rethined-bench` "
        f"against a bare loop over the runtime, turn about, {_PAIRS} pairs in each of "
        f"{_PROCESSES} processes. What it takes longer makes an inference of {INFERENCE_MS:g} ms "
        f"longer by this ratio (median, 95 % interval); at most {1 + OVERHEAD:.2f}.",
        "",
        "| runtime | harness ms | bare ms | ratio | interval |",
        "|---|---|---|---|---|",
    ]
    for target, made in figures["overheads"].items():
        lines.append(
            f"| {RUNTIMES[target]} | {made['harness_ms']:.3f} | {made['bare_ms']:.3f} "
            f"| {made['ratio']:.4f} | {made['low']:.4f}–{made['high']:.4f} |"
        )
    lines += [
        "",
        f"Instructions of one run on an emulated {CORE}, in {_PROCESSES} processes while every "
        f"core was kept busy; largest over smallest, less one; at most {SPREAD:.1%}.",
        "",
        "| graph | G instructions | spread |",
        "|---|---|---|",
    ]
    for name, counts in figures["counts"].items():
        spread = max(counts) / min(counts) - 1
        lines.append(f"| {name} | {statistics.median(counts) / 1e9:.4f} | {spread:.5%} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
