"""LiteRT: the summary of its own profiler, XNNPACK's operators included.

The Python interface has no profiler. The library beside it does, behind LiteRT's C interface, so a
compiled model is made and run through that.
"""

import ctypes
import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from ctypes import byref, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import ai_edge_litert

from rethined_export.benchmarks.operators import Node
from rethined_export.converters.tflite import unpack
from rethined_export.converters.types import ArtifactError

_CPU = 1
_WRITE = 1
_FIRST_SIGNATURE = c_size_t(0)
#: Room for the C structure of a tensor's type, which is passed on unread.
_TYPE_BYTES = 1024
_NUMBER = r"\s+[\d.]+"
#: kind, start, first, average ms, share, sum of shares, memory, times called, name.
_ROW = re.compile(
    rf"\s*(\S.*?){_NUMBER}{_NUMBER}\s+([\d.]+){_NUMBER}%{_NUMBER}%{_NUMBER}\s+(\d+)\s+(\S+)"
)
_Buffers = ctypes.Array[c_void_p]


def node_times(artifact: Path, threads: int, warm_up: int, runs: int) -> list[Node]:
    """Milliseconds of each operator in one run, the mean over ``runs``.

    Raises:
        ArtifactError: it cannot be loaded, or this release of LiteRT does not profile.
    """
    unpack(artifact)  # a truncated file can crash the native loader instead of failing
    try:
        with ExitStack() as stack:
            lite = _LiteRt(stack)  # named: it holds what the options point to until they go
            summary = _profiled(lite, artifact, threads, warm_up, runs)
    except (OSError, AttributeError, RuntimeError) as error:
        raise ArtifactError(f"LiteRT cannot profile {artifact}: {error}") from error
    return parse(summary, runs)


def parse(summary: str, runs: int) -> list[Node]:
    """Operators from the first table of a summary, in the order they ran.

    XNNPACK numbers operators within each part of the graph that it takes over; LiteRT adds up those
    of one kind and number.

    Raises:
        ArtifactError: it lists no operator.
    """
    in_order = summary.partition("Top by Computation Time")[0]
    nodes = []
    for line in in_order.splitlines():
        if found := _ROW.fullmatch(line.rstrip()):
            kind, average, called, name = found.groups()
            kind, times = kind.removeprefix("Delegate/"), int(called) / runs
            nodes.append(Node(kind, name, float(average) * times, round(times)))
    if not nodes:
        raise ArtifactError("LiteRT's profile lists no operator")
    return nodes


class _LiteRt:
    """LiteRT's C functions; what they create is destroyed with the stack, last made first."""

    def __init__(self, stack: ExitStack) -> None:
        self._library = ctypes.CDLL(str(Path(ai_edge_litert.__file__).with_name("libLiteRt.so")))
        self._stack = stack
        self._kept: list[Any] = []
        self.environment = self.create("Environment", 0, None)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function that returns a status."""
        if status := getattr(self._library, f"LiteRt{name}")(*arguments):
            raise RuntimeError(f"LiteRt{name} returned {status}")

    def get(self, name: str, *arguments: Any) -> c_void_p:
        """What a function stores where its last argument points."""
        handle = c_void_p()
        self.call(name, *arguments, byref(handle))
        return handle

    def create(self, kind: str, *arguments: Any, how: str = "Create{}") -> c_void_p:
        """A new object."""
        handle = self.get(how.format(kind), *arguments)
        self._stack.callback(getattr(self._library, f"LiteRtDestroy{kind}"), handle)
        return handle

    def set_option(self, options: c_void_p, name: bytes, text: bytes) -> None:
        """Add settings in TOML, which are read when a model is compiled."""
        release = ctypes.CFUNCTYPE(None, c_void_p)(lambda _: None)
        memory = ctypes.create_string_buffer(text)
        self._kept += [release, memory]
        self.call(
            "AddOpaqueOptions", options, self.get("CreateOpaqueOptions", name, memory, release)
        )


def _profiled(lite: _LiteRt, artifact: Path, threads: int, warm_up: int, runs: int) -> str:
    """The profiler's summary."""
    options = lite.create("Options")
    lite.call("SetOptionsHardwareAccelerators", options, _CPU)
    lite.set_option(options, b"runtime_options_string", b"enable_profiling = true\n")
    lite.set_option(options, b"xnnpack", b"num_threads = %d\n" % threads)
    path = os.fsencode(artifact)
    model = lite.create("Model", lite.environment, path, how="Create{}FromFile")
    compiled = lite.create("CompiledModel", lite.environment, model, options)
    run = _runner(lite, model, compiled)
    profiler = lite.get("CompiledModelGetProfiler", compiled)
    for _ in range(warm_up):
        run()
    lite.call("ResetProfiler", profiler)
    lite.call("StartProfiler", profiler)
    for _ in range(runs):
        run()
    lite.call("StopProfiler", profiler)
    summary = lite.get("GetProfileSummary", profiler, compiled)
    text = ctypes.string_at(summary.value or 0).decode()
    ctypes.CDLL(None).free(summary)
    return text


def _runner(lite: _LiteRt, model: c_void_p, compiled: c_void_p) -> Callable[[], None]:
    """A function that runs the model once, on zeros."""
    signature = lite.get("GetModelSignature", model, _FIRST_SIGNATURE)
    inputs = _buffers(lite, signature, compiled, "Input")
    outputs = _buffers(lite, signature, compiled, "Output")
    for handle in inputs:
        buffer, size = c_void_p(handle), c_size_t()
        lite.call("GetTensorBufferPackedSize", buffer, byref(size))
        memory = c_void_p()
        lite.call("LockTensorBuffer", buffer, byref(memory), _WRITE)
        ctypes.memset(memory, 0, size.value)
        lite.call("UnlockTensorBuffer", buffer)
    counts = c_size_t(len(inputs)), c_size_t(len(outputs))

    def run() -> None:
        lite.call(
            "RunCompiledModel", compiled, _FIRST_SIGNATURE, counts[0], inputs, counts[1], outputs
        )

    return run


def _buffers(lite: _LiteRt, signature: c_void_p, compiled: c_void_p, way: str) -> _Buffers:
    """A buffer for each input or output."""
    count = c_size_t()
    lite.call(f"GetNumSignature{way}s", signature, byref(count))
    buffers = (c_void_p * count.value)()
    for number in range(count.value):
        place = c_size_t(number)
        tensor = lite.get(f"GetSignature{way}TensorByIndex", signature, place)
        kind = ctypes.create_string_buffer(_TYPE_BYTES)
        lite.call("GetRankedTensorType", tensor, kind)
        needs = lite.get(
            f"GetCompiledModel{way}BufferRequirements", compiled, _FIRST_SIGNATURE, place
        )
        buffer = lite.create(
            "TensorBuffer", lite.environment, kind, needs, how="CreateManaged{}FromRequirements"
        )
        buffers[number] = buffer.value
    return buffers
