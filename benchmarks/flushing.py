"""Runs of dense programs that subnormal numbers do not slow down."""

from collections.abc import Callable
from pathlib import Path

import onnxruntime

from rethined_export.converters.onnx import session_options


def flushing(path: Path, threads: int) -> Callable[..., object]:
    """A dense ONNX program that takes subnormal numbers for zero, called with its inputs by name.

    Softmax over all tokens leaves millions of them, which x86 processors compute many times slower
    than other numbers; that is a setting of the runtime, no fault of the graph. A session's reaches
    the threads that it starts. The calling one's is set here, from now on and for all that it runs.
    """
    import torch  # not where only memory is measured

    torch.set_flush_denormal(True)
    options = session_options(threads)
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    session = onnxruntime.InferenceSession(str(path), options)
    return lambda **inputs: session.run(None, inputs)
