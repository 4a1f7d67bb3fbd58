"""Runs inside the emulated system: one artifact, a few times, and its outputs to a file.

Called with a folder that holds ``inputs.npz``, in the artifact's own layouts, and with the
artifact, the target and the number of runs. Leaves ``outputs.npz``; prints a line a run.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, Any]


def main(folder: Path, artifact: str, target: str, runs: int) -> None:
    """Run and keep the last outputs; the system calls around a run mark it for the counter."""
    inputs = dict(np.load(folder / "inputs.npz"))
    run = _onnx(artifact) if target == "onnx" else _tflite(artifact)
    print("loaded", flush=True)
    outputs: Arrays = {}
    for _ in range(runs):
        os.getsid(0)
        outputs = run(inputs)
        os.getsid(0)
        print("ran", flush=True)
    np.savez(folder / "outputs.npz", **outputs)


def _onnx(artifact: str) -> Callable[[Arrays], Arrays]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


def _tflite(artifact: str) -> Callable[[Arrays], Arrays]:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(artifact, num_threads=1).get_signature_runner()
    return lambda inputs: runner(**inputs)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
