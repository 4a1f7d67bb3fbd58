"""One run of a program in our folder on a device, within a time."""

import signal
from collections.abc import Sequence

from rethined_export.benchmarks.adb.client import Device, Done
from rethined_export.jobs.parent import JobError, last_line

#: A run that takes longer is hung.
TIME_LIMIT_S = 600.0
#: How long after that the device itself may take to say so.
_GRACE_S = 15.0
#: ``timeout`` ends the program also when nobody is there any more to do it.
_RUN = """
cd "$1" || exit
shift
exec timeout -s KILL "$@"
"""


def run_here(device: Device, command: Sequence[str]) -> Done:
    """Run a program in the device's folder of ours until it ends well.

    Raises:
        JobError: it failed, crashed, or took too long.
        UnavailableError: the device went away.
    """
    limit = TIME_LIMIT_S
    arguments = (device.folder, f"{limit:.0f}", *command)
    done = device.script(_RUN, *arguments, limit_s=limit + _GRACE_S)
    if done.code and done.seconds >= limit:
        raise JobError(f"stopped on {device.serial} after {limit:.0f} s without finishing", 1)
    if done.code:
        said = last_line(done.err) or last_line(done.out) or "nothing"
        name = command[0].rpartition("/")[2]
        raise JobError(
            f"{name} on {device.serial} {_how(done.code)}; it last printed: {said[:200]}", 1
        )
    return done


def _how(code: int) -> str:
    if code > 128 and code - 128 in set(signal.Signals):
        return f"crashed ({signal.Signals(code - 128).name})"
    return f"ended with {code}"
