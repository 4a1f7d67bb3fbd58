"""The process in which one job runs, apart from everything else.

Converters crash, hang and take tens of gigabytes; here that ends one process, not the export. The
job comes as JSON on standard input; stages and the result go as JSON lines to standard output, and
whatever the converters print goes to standard error.
"""

import errno
import json
import os
import signal
import sys
import threading
import time
import traceback
from typing import Any, TextIO

from rethined_export.errors import OperatorError, UnavailableError, UserError
from rethined_export.jobs import registry
from rethined_export.jobs.memory import peak_rss_bytes

_WATCH_S = 1.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main() -> None:
    """Read a job, run it, write its result."""
    # The parent decides what Ctrl-C means, and ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = _claim_stdout()
    job = json.load(sys.stdin)
    threading.Thread(target=_watch, args=(job.pop("parent"),), daemon=True).start()

    def report(stage: str) -> None:
        _send(channel, {"stage": stage})

    try:
        result = registry.find(job.pop("job"))(report, **job)
    except Exception as error:
        traceback.print_exc()  # first: the parent ends this process once it has the error
        _send(channel, {"error": describe(error)})
        sys.exit(1)
    result["peak_rss_bytes"] = peak_rss_bytes()
    _send(channel, {"result": result})


def _watch(parent: int) -> None:
    """End this process and what it started when the parent is gone and nobody waits."""
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os.killpg(0, signal.SIGKILL)


def _claim_stdout() -> TextIO:
    """Keep standard output for results; native code that prints gets standard error instead."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return channel


def _send(channel: TextIO, message: dict[str, Any]) -> None:
    channel.write(json.dumps(message) + "\n")
    channel.flush()


def describe(error: Exception) -> dict[str, Any]:
    """One line and an exit code: known kinds keep theirs, the rest are unexpected failures."""
    text = " ".join(str(error).splitlines()) or type(error).__name__
    unexpected = {"message": f"{type(error).__name__}: {text[:500]}", "exit_code": 1}
    try:
        from rethined_export.converters import MissingConverterError
        from rethined_export.converters.types import ArtifactError, UnsupportedOperatorError
    except ImportError:  # a broken installation: that is what failed in the first place
        return unexpected
    codes: list[tuple[type[Exception], int]] = [
        (MissingConverterError, UnavailableError.exit_code),
        (UnsupportedOperatorError, OperatorError.exit_code),
        (ArtifactError, UserError.exit_code),
    ]
    if isinstance(error, UserError):
        return {"message": text, "exit_code": error.exit_code}
    if isinstance(error, OSError):
        file = "" if error.filename is None else f" ({error.filename})"
        advice = "; free some space, or choose another folder" if error.errno in _FULL else ""
        return {
            "message": f"{error.strerror or text}{file}{advice}",
            "exit_code": UserError.exit_code,
        }
    for kind, code in codes:
        if isinstance(error, kind):
            return {"message": text, "exit_code": code}
    return unexpected


if __name__ == "__main__":
    main()
