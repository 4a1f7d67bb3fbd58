"""ONNX Runtime: its trace, one event a node and run."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from rethined_export.benchmarks.operators import Node
from rethined_export.converters.types import ArtifactError

_TYPES = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(int32)": "int32"}
_KERNEL = "_kernel_time"


def node_times(artifact: Path, threads: int, warm_up: int, runs: int) -> list[Node]:
    """Milliseconds of each node in one run, the mean over ``runs``.

    Raises:
        ArtifactError: it cannot be loaded, or takes an input of another type.
    """
    with tempfile.TemporaryDirectory(prefix="rethined-") as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "trace"))
        try:
            session = onnxruntime.InferenceSession(
                str(artifact), options, providers=["CPUExecutionProvider"]
            )
            feeds = {i.name: np.zeros(i.shape, _TYPES[i.type]) for i in session.get_inputs()}
        except Exception as error:  # its errors share no base class of their own
            raise ArtifactError(f"ONNX Runtime cannot profile {artifact}: {error}") from error
        for _ in range(warm_up + runs):
            session.run(None, feeds)
        trace = json.loads(Path(session.end_profiling()).read_text())
    return parse(trace, runs)


def parse(trace: Sequence[dict[str, Any]], runs: int) -> list[Node]:
    """Nodes of the last runs of a trace.

    Raises:
        ArtifactError: the trace holds fewer runs, or no node.
    """
    begun = sorted(event["ts"] for event in trace if event.get("name") == "model_run")
    if len(begun) < runs:
        raise ArtifactError(f"ONNX Runtime's trace holds {len(begun)} runs, not {runs}")
    microseconds: dict[tuple[str, str], int] = defaultdict(int)
    for event in trace:
        if str(event.get("name")).endswith(_KERNEL) and event["ts"] >= begun[-runs]:
            name = event["name"].removesuffix(_KERNEL)
            microseconds[event["args"]["op_name"], name] += event["dur"]
    if not microseconds:
        raise ArtifactError("ONNX Runtime's trace holds no operator")
    return [Node(kind, name, 1e-3 * us / runs) for (kind, name), us in microseconds.items()]
