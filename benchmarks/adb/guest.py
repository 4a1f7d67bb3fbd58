"""Runs on a Linux board, under its own Python: times one artifact, and keeps its outputs.

Called in a folder that holds this file, ``timing.py``, ``inputs.npz`` in the artifact's own layouts
and, for a whole artifact, ``photo.npz`` (``photo`` ``[S, S, 3]`` uint8, ``hole`` ``[S, S]`` bool);
one of several programs is timed by itself, without a photo. Called with the artifact,
the target, the threads, the runs before those that count and the runs that do (``-``:
as ``timing`` has it). Leaves ``result.json``, times in milliseconds, and ``outputs.npz``.

Clocks are monotonic: a board without a battery sets its time of day when it finds a server.
"""

import json
import resource
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import timing  # type: ignore[import-not-found]  # copied to the board beside this file

Arrays = dict[str, Any]
Parts = tuple[float, float, float]
_PARTS = ("before", "inference", "after")


def main(artifact: str, target: str, threads: int, warm_up: int | None, runs: int | None) -> None:
    """Load, time fills of a photo, run once on the inputs to compare."""
    begun = perf_counter()
    run, runtime = (_onnx if target == "onnx" else _tflite)(artifact, threads)
    load = 1e3 * (perf_counter() - begun)
    with np.load("inputs.npz") as stored:
        inputs = dict(stored)
    fill = (
        _filling(run, nhwc=target == "tflite")
        if Path("photo.npz").exists()
        else _alone(run, inputs)
    )

    first = sum(fill())
    warmed = 1 + timing.warm_up(lambda: sum(fill()), warm_up)
    begun = perf_counter()
    parts: list[Parts] = []
    while not timing.enough(len(parts), begun, runs):
        parts.append(fill())
    np.savez("outputs.npz", **run(inputs))
    result = {
        "runtime": runtime,
        "load": load,
        "first": first,
        "warm_up": warmed,
        "peak_rss_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        **{name: [part[place] for part in parts] for place, name in enumerate(_PARTS)},
    }
    Path("result.json").write_text(json.dumps(result))


def _filling(run: Callable[[Arrays], Arrays], nhwc: bool) -> Callable[[], Parts]:
    with np.load("photo.npz") as stored:
        photo, hole = stored["photo"], stored["hole"]
    return lambda: _fill(run, photo, hole, nhwc)


def _alone(run: Callable[[Arrays], Arrays], inputs: Arrays) -> Callable[[], Parts]:
    """Times of a program by itself."""

    def once() -> Parts:
        begun = perf_counter()
        run(inputs)
        return 0.0, 1e3 * (perf_counter() - begun), 0.0

    return once


def _fill(run: Callable[[Arrays], Arrays], photo: Any, hole: Any, nhwc: bool) -> Parts:
    """Milliseconds of one fill: photo to inputs, the artifact, output to photo."""
    begun = perf_counter()
    image = (photo if nhwc else photo.transpose(2, 0, 1))[None].astype(np.float32) / np.float32(255)
    mask = (hole[None, :, :, None] if nhwc else hole[None, None]).astype(np.float32)
    ready = perf_counter()
    output = run({"image": image, "mask": mask})["output"][0]
    ran = perf_counter()
    filled = photo.copy()
    values = (output if nhwc else output.transpose(1, 2, 0))[hole]
    filled[hole] = np.rint(np.clip(values, 0, 1) * np.float32(255))
    done = perf_counter()
    return 1e3 * (ready - begun), 1e3 * (ran - ready), 1e3 * (done - ran)


def _onnx(artifact: str, threads: int) -> tuple[Callable[[Arrays], Arrays], str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Arrays) -> Arrays:
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run, f"ONNX Runtime {onnxruntime.__version__}"


def _tflite(artifact: str, threads: int) -> tuple[Callable[[Arrays], Arrays], str]:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(artifact, num_threads=threads).get_signature_runner()
    return lambda inputs: runner(**inputs), f"LiteRT {version('ai-edge-litert')}"


def _count(text: str) -> int | None:
    return None if text == "-" else int(text)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), _count(sys.argv[4]), _count(sys.argv[5]))
