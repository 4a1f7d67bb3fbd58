"""The benchmark tools that LiteRT and ONNX Runtime have for devices; the user supplies the builds.

Both time inference alone. ``onnxruntime_perf_test`` lists its runs and hands no outputs out;
``benchmark_model`` sums its runs up and can write its outputs.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rethined_export.benchmarks.adb.client import Device, Done
from rethined_export.benchmarks.adb.job import run_here
from rethined_export.benchmarks.cache import cache
from rethined_export.benchmarks.runners.types import Plan, Spread, ToolRun
from rethined_export.benchmarks.sample import difference
from rethined_export.benchmarks.timing import RUNS, SECONDS
from rethined_export.errors import UserError
from rethined_export.jobs.parent import JobError, last_line

#: By target; a build may be called something around it, as ``android_aarch64_benchmark_model``.
NAMES = {"tflite": "benchmark_model", "onnx": "onnxruntime_perf_test"}
#: Where the user is not asked for a number of them.
_WARM_UP = 10
_NUMBER = r"([-+.\deE]+)"


def check(tools: Sequence[Path]) -> None:
    """Refuse what cannot be a tool.

    Raises:
        UserError: no such file, or its name is of neither tool.
    """
    for tool in tools:
        if not tool.is_file():
            raise UserError(f"--tool {tool}: no such file")
        if not any(name in tool.name for name in NAMES.values()):
            raise UserError(f"--tool {tool}: its name has neither {' nor '.join(NAMES.values())}")


def chosen(target: str, tools: Sequence[Path]) -> Path | None:
    """The user's tool for a target."""
    return next((tool for tool in tools if NAMES[target] in tool.name), None)


def kept(target: str) -> Path | None:
    """A tool that the user keeps in the cache."""
    place = kept_at(target)
    return place if place.is_file() else None


def kept_at(target: str) -> Path:
    """Where such a tool would lie."""
    return cache() / "tools" / NAMES[target]


def run_litert(device: Device, tool: Path, artifact: Path, plan: Plan, folder: Path) -> ToolRun:
    """Time with ``benchmark_model``, on a photo, and compare its outputs.

    Args:
        folder: with ``inputs.npz`` and ``own.npz`` of the artifact.

    Raises:
        JobError: it crashed, hung, or printed no times.
    """
    from rethined_export.converters.tflite import boundary

    inputs, outputs = boundary(artifact)
    command = [
        device.push(tool, NAMES["tflite"]),
        f"--graph={device.push(artifact, 'artifact.tflite')}",
        f"--num_threads={plan.threads}",
        f"--num_runs={plan.runs or RUNS}",
        f"--warmup_runs={_WARM_UP if plan.warm_up is None else plan.warm_up}",
        *("--min_secs=0", "--warmup_min_secs=0", "--output_filepath=outputs.bin"),
        *_litert_inputs(device, inputs, folder),
    ]
    if plan.runs is None:
        command.append(f"--max_secs={SECONDS:g}")
    done = run_here(device, command)
    warm, counted = _litert_lines(done)
    told = dict(re.findall(r"(Init|First inference): *(\d+)", done.out + done.err))
    return ToolRun(
        runtime="LiteRT benchmark_model",
        inference=counted,
        load=int(told["Init"]) / 1e3 if "Init" in told else None,
        first=int(told["First inference"]) / 1e3 if "First inference" in told else None,
        warm_up=warm,
        peak_rss_bytes=None,
        difference=_litert_difference(device, outputs, folder),
    )


def _litert_inputs(device: Device, names: Sequence[str], folder: Path) -> list[str]:
    """Options that name the inputs' values; it runs in our folder, so file names do."""
    with np.load(folder / "inputs.npz") as stored:
        inputs = {name: stored[name] for name in names}
    for name, values in inputs.items():
        values.tofile(folder / f"{name}.bin")
        device.push(folder / f"{name}.bin", f"{name}.bin")
    shapes = (",".join(map(str, values.shape)) for values in inputs.values())
    return [
        f"--input_layer={','.join(names)}",
        f"--input_layer_shape={':'.join(shapes)}",
        f"--input_layer_value_files={','.join(f'{name}:{name}.bin' for name in names)}",
    ]


def _litert_lines(done: Done) -> tuple[int, Spread]:
    """Number of warm-up runs, and what is said of those that count.

    Where all runs took equally long the line has no ``min`` and ``max``.
    """
    lines = [
        {name: float(value) for name, value in re.findall(rf"(\w+)={_NUMBER}", line)}
        for line in (done.out + "\n" + done.err).splitlines()
        if re.search(r"\bcount=\d+ .*\bcurr=\d", line)
    ]
    if not lines:
        raise _no_times(NAMES["tflite"], done)
    *before, told = lines
    same = told["curr"]
    milliseconds = {
        name: told.get(theirs, same) / 1e3
        for name, theirs in (("min", "min"), ("mean", "avg"), ("max", "max"))
    }
    median, p95 = (told[name] / 1e3 if name in told else None for name in ("median", "p95"))
    spread = Spread(
        runs=int(told["count"]),
        std=told.get("std", 0) / 1e3,
        p50=median,
        p95=p95,
        **milliseconds,
    )
    if not 0 < spread.min <= spread.mean <= spread.max:
        raise _no_times(NAMES["tflite"], done)
    return int(sum(line["count"] for line in before)), spread


def _litert_difference(device: Device, names: Sequence[str], folder: Path) -> float | None:
    """None where the build is too old to write its outputs."""
    if device.shell("test", "-f", f"{device.folder}/outputs.bin").code:
        return None
    device.pull("outputs.bin", folder / "outputs.bin")
    data = (folder / "outputs.bin").read_bytes()
    made, begin = {}, 0
    with np.load(folder / "own.npz") as own:
        for name in names:
            end = begin + own[name].nbytes
            if len(data) < end:
                raise JobError(f"benchmark_model wrote {len(data)} bytes of outputs, not {end}", 1)
            made[name] = np.frombuffer(data[begin:end], own[name].dtype).reshape(own[name].shape)
            begin = end
    np.savez(folder / "outputs.npz", **made)  # type: ignore[arg-type]
    return difference(folder)


def run_onnx(device: Device, tool: Path, artifact: Path, plan: Plan, folder: Path) -> ToolRun:
    """Time with ``onnxruntime_perf_test``, on inputs of its own.

    It makes one run before those that count, however many are asked for.

    Raises:
        JobError: it crashed, hung, or wrote no times.
    """
    command = [
        device.push(tool, NAMES["onnx"]),
        *("-e", "cpu", "-I", "-m", "times", "-r", str(plan.runs or RUNS)),
        *("-x", str(plan.threads), "-y", "1"),
        device.push(artifact, "artifact.onnx"),
        "result.csv",
    ]
    done = run_here(device, command)
    device.pull("result.csv", folder / "result.csv")
    times, peak = _onnx_rows((folder / "result.csv").read_text(errors="replace"), done)
    session = re.search(rf"Session creation time cost: *{_NUMBER} *s\b", done.out)
    first = re.search(rf"First inference time cost: *{_NUMBER} *ms\b", done.out)
    return ToolRun(
        runtime="onnxruntime_perf_test",
        inference=times,
        load=1e3 * float(session[1]) if session else None,
        first=float(first[1]) if first else None,
        warm_up=1,
        peak_rss_bytes=peak,
        difference=None,
    )


def _onnx_rows(text: str, done: Done) -> tuple[npt.NDArray[np.float64], int]:
    """Milliseconds of each run and bytes at the peak, from lines of
    ``name,seconds,bytes,percent,number``.
    """
    rows = [line.rsplit(",", 4) for line in text.splitlines() if line.count(",") >= 4]
    try:
        times = np.array([1e3 * float(row[1]) for row in rows])
        peak = max(int(row[2]) for row in rows)
    except ValueError as error:
        raise _no_times(NAMES["onnx"], done) from error
    if not np.all(times > 0):
        raise _no_times(NAMES["onnx"], done)
    return times, peak


def _no_times(tool: str, done: Done) -> JobError:
    said = last_line(done.err) or last_line(done.out) or "nothing"
    return JobError(f"{tool} gave no times that make sense; it last printed: {said[:200]}", 1)
