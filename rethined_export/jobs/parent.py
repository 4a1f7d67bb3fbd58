"""Run jobs in worker processes, with a limit on time and memory."""

import contextlib
import json
import os
import queue
import re
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

from rethined_export.jobs.registry import Job, name_of

#: A converter past either is taken for hung or runaway.
TIME_LIMIT_S = 1200.0
MEMORY_LIMIT_BYTES = 16 << 30
#: Told the target and the stage it is in.
OnStage = Callable[[str, str], None]
_POLL_S = 0.2
#: What LLVM and coremltools say, without an error code, where a disk is full.
_UNWRITTEN = ("IO failure on output stream", "[MIL FileWriter]")
_SCRATCH = re.compile(r"\.\d+\.export-")
#: -P: a file in the working directory named like a package must not be imported in its place.
_WORKER = (sys.executable, "-P", "-m", "rethined_export.jobs.worker")
_KEEP_BYTES = str(1 << 33)
ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYTHONWARNINGS": "ignore",
    # glibc gives a large tensor's memory back at once and faults every page in again for the next:
    # that took two fifths of a comparison at 4096 (77 s; 47 s with memory kept).
    "MALLOC_MMAP_THRESHOLD_": _KEEP_BYTES,
    "MALLOC_TRIM_THRESHOLD_": _KEEP_BYTES,
}


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
    job: Job,
    arguments: dict[str, Any],
    on_stage: Callable[[str], None],
    time_limit_s: float = TIME_LIMIT_S,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
) -> dict[str, Any]:
    """Run a function in a process of its own (see :mod:`rethined_export.jobs.registry`).

    Args:
        on_stage: called with each stage the worker enters.

    Raises:
        JobError: it failed, crashed, ran out of time or took too much memory.
        KeyboardInterrupt: the worker has been ended first.
    """
    # Converters leave temporary files where TMPDIR points; ended by force, they cannot clean up.
    with (
        tempfile.TemporaryDirectory(prefix="rethined-", ignore_cleanup_errors=True) as folder,
        Path(folder, "log").open("w+", errors="replace") as log,
    ):
        process = subprocess.Popen(
            _WORKER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=os.environ | ENVIRONMENT | {"TMPDIR": folder},
            start_new_session=True,
        )
        try:
            _hand_over(process, {"job": name_of(job), "parent": os.getpid(), **arguments})
            message = _follow(process, on_stage, time_limit_s, memory_limit_bytes)
        finally:
            _end(process)
        log.seek(0)
        text = log.read()
    if "result" in message:
        result: dict[str, Any] = message["result"]
        return result
    error = message.get("error") or {"message": _obituary(process, text), "exit_code": 1}
    if any(words in error["message"] for words in _UNWRITTEN):
        error = {"message": f"{error['message']}; free some space, or choose another folder",
                 "exit_code": 2}  # fmt: skip
    raise JobError(error["message"], error["exit_code"], text)


def _hand_over(process: "subprocess.Popen[str]", job: dict[str, Any]) -> None:
    """Write the job to the worker's standard input; one that died early is found out later."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as stream:
        stream.write(json.dumps(job))


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
    ended = False
    while not (ended and process.poll() is not None):
        if limit := _exceeded(process, deadline, time_limit_s, memory_limit_bytes):
            return {"error": {"message": limit, "exit_code": 1}}
        try:
            message = messages.get(timeout=_POLL_S)
        except queue.Empty:
            continue
        if message is None:
            ended = True
        elif "stage" in message:
            on_stage(message["stage"])
        else:
            return message
    return {}


def _read(stream: IO[str], messages: "queue.Queue[dict[str, Any] | None]") -> None:
    """Queue the worker's messages; None stands for the end."""
    with stream:
        for line in stream:
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if not isinstance(message, dict):
                text = f"its process sent something other than a message: {line.strip()[:200]}"
                message = {"error": {"message": text, "exit_code": 1}}
            messages.put(message)
    messages.put(None)


def _exceeded(
    process: "subprocess.Popen[str]", deadline: float, time_limit_s: float, memory_limit: int
) -> str | None:
    """Which limit the worker is past, in words."""
    if time.monotonic() > deadline:
        return f"stopped after {time_limit_s:.0f} s without finishing"
    used = _memory(process.pid)
    if used > memory_limit:
        return f"stopped at {used / 2**30:.1f} GiB of memory (limit {memory_limit / 2**30:.1f} GiB)"
    return None


def _memory(pid: int) -> int:
    """Bytes resident in a process and all it started."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for process in family:
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def _end(process: "subprocess.Popen[str]") -> None:
    """End the worker and whatever it started, also what outlived it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _obituary(process: "subprocess.Popen[str]", log: str) -> str:
    """Why a worker that sent no result ended."""
    code = process.returncode
    if code == -signal.SIGKILL:
        how = "its process was killed (SIGKILL), most likely because memory ran out"
    elif code < 0:
        how = f"its process crashed ({signal.Signals(-code).name})"
    else:
        how = f"its process ended with code {code} and no result"
    last = last_line(log)
    return f"{how}; it last printed: {last[:200]}" if last else how


def last_line(text: str) -> str:
    """The last line that says something; empty if none does."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def scratch_name(directory: Path, name: str) -> Path:
    """A name of our own beside the final one, on the same file system, keeping the suffix."""
    return directory / f".{os.getpid()}.export-{name}"


def stale_scratch(directory: Path) -> list[Path]:
    """What exports that were killed left in a folder; only for who holds the folder's lock."""
    return [path for path in directory.glob(".*.export-*") if _SCRATCH.match(path.name)]
