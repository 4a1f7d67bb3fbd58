"""Run jobs in worker processes, with a limit on time and memory."""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import psutil

#: A converter past either is taken for hung or runaway.
TIME_LIMIT_S = 1200.0
MEMORY_LIMIT_BYTES = 16 << 30
_POLL_S = 0.2


class JobError(Exception):
    """A job did not finish; the message is one line.

    Attributes:
        exit_code: what the command should end with.
        log: what the worker printed, for the curious.
    """

    def __init__(self, message: str, exit_code: int, log: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.log = log


def run_job(
    job: str,
    arguments: dict[str, Any],
    on_stage: Callable[[str], None],
    time_limit_s: float = TIME_LIMIT_S,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
) -> dict[str, Any]:
    """Run one job of :mod:`rethined_export.worker` in a process of its own.

    Args:
        on_stage: called with each stage the worker enters.

    Raises:
        JobError: it failed, crashed, ran out of time or took too much memory.
        KeyboardInterrupt: the worker has been ended first.
    """
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "rethined_export.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"},
            start_new_session=True,
        )
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps({"job": job, **arguments}))
            process.stdin.close()
            message = _follow(process, on_stage, time_limit_s, memory_limit_bytes)
        finally:
            _end(process)
        log.seek(0)
        text = log.read()
    if "result" in message:
        result: dict[str, Any] = message["result"]
        return result
    error = message.get("error") or {"message": _obituary(process, text), "exit_code": 1}
    raise JobError(error["message"], error["exit_code"], text)


def _follow(
    process: "subprocess.Popen[str]",
    on_stage: Callable[[str], None],
    time_limit_s: float,
    memory_limit_bytes: int,
) -> dict[str, Any]:
    """Pass stages on until a result, an error, the end, or a limit."""
    assert process.stdout is not None
    messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
    threading.Thread(target=_read, args=(process.stdout, messages), daemon=True).start()
    deadline = time.monotonic() + time_limit_s
    while True:
        try:
            message = messages.get(timeout=_POLL_S)
        except queue.Empty:
            if limit := _exceeded(process, deadline, time_limit_s, memory_limit_bytes):
                return {"error": {"message": limit, "exit_code": 1}}
            continue
        if message is None:
            process.wait()
            return {}
        if "stage" not in message:
            return message
        on_stage(message["stage"])


def _read(stream: IO[str], messages: "queue.Queue[dict[str, Any] | None]") -> None:
    for line in stream:
        messages.put(json.loads(line))
    messages.put(None)


def _exceeded(
    process: "subprocess.Popen[str]", deadline: float, time_limit_s: float, memory_limit: int
) -> str | None:
    if time.monotonic() > deadline:
        return f"stopped after {time_limit_s:.0f} s without finishing"
    try:
        used = psutil.Process(process.pid).memory_info().rss
    except psutil.Error:
        return None
    if used > memory_limit:
        return f"stopped at {used / 2**30:.1f} GiB of memory (limit {memory_limit / 2**30:.0f} GiB)"
    return None


def _end(process: "subprocess.Popen[str]") -> None:
    """End the worker and whatever it started."""
    if process.poll() is None or process.returncode < 0:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _obituary(process: "subprocess.Popen[str]", log: str) -> str:
    """Why a worker that sent no result ended."""
    code = process.returncode
    if code < 0:
        how = f"its process crashed ({signal.Signals(-code).name})"
    else:
        how = f"its process ended with code {code} and no result"
    last = next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "")
    return f"{how}; it last printed: {last[:200]}" if last else how


def worker_threads() -> int:
    """Threads a worker uses: all cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def scratch_name(directory: Path, name: str) -> Path:
    """A name of our own beside the final one, on the same file system, keeping the suffix."""
    return directory / f".{os.getpid()}-{name}"
