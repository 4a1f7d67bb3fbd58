"""arm64 under user-mode emulation: its outputs, and how many instructions a run takes.

Wall times there say nothing of a device and are not reported. An emulated run takes 10 to 30
seconds at 512.
"""

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rethined_export.benchmarks.arm64.system import CORE, MACHINE, System, missing, system
from rethined_export.benchmarks.profiles import Profile
from rethined_export.benchmarks.runners.apart import read_filled
from rethined_export.benchmarks.runners.types import Counted, Plan, Stateless
from rethined_export.benchmarks.sample import difference, sample
from rethined_export.benchmarks.subjects import RUNTIMES
from rethined_export.benchmarks.verdict import Provenance
from rethined_export.converters import target_of
from rethined_export.jobs.parent import JobError, last_line, run_job

GUEST = Path(__file__).parents[1] / "arm64" / "guest.py"
#: The first run also prepares the runtime's kernels; the last one is reported.
_RUNS = 2
_TIME_LIMIT_S = 900.0


class Arm64Runner(Stateless):
    """Runs artifacts in the emulator, one after the other, on a photo."""

    provenance: Provenance = "emulated"

    @staticmethod
    def unreachable(_profile: Profile) -> str:
        """Why it cannot run now; empty if it can."""
        return missing()

    def run(self, artifact: Path, _plan: Plan, tell: Callable[[str], None]) -> Counted:
        """Run an artifact natively and in the emulator, compare, and count instructions.

        Raises:
            UserError: not the first of several programs.
            UnavailableError: the emulator is not built.
            JobError: the artifact cannot be run, or takes too long.
        """
        emulated, target = system(), target_of(artifact)
        with tempfile.TemporaryDirectory(prefix="rethined-") as name:
            folder = Path(name)
            told = run_job(sample, {"artifact": str(artifact), "folder": name}, tell)
            tell("emulating")
            if "parts" in told:
                return _apart(emulated, told, folder, target)
            instructions = emulate(emulated, folder, artifact, target)
            return Counted(f"{RUNTIMES[target]} on {CORE}", instructions, difference(folder))


def _apart(emulated: System, told: dict[str, Any], folder: Path, target: str) -> Counted:
    """Instructions of a fill: of each of its programs, and of what runs beside them."""
    instructions, differences = 0, []
    for name, part in told["parts"].items():
        counted = emulate(emulated, folder / name, Path(part["path"]), target)
        instructions += part["runs"] * counted
        differences.append(difference(folder / name))
    timer = Path(told["timers"][MACHINE])
    _emulate_timer(emulated, timer, folder / "photo", told["settings"]["photo"])
    differences.append(read_filled(folder / "photo" / "filled.raw", folder / "photo"))
    instructions += _emulate_timer(emulated, timer, folder / "noise", told["settings"]["noise"])
    runtime = f"{RUNTIMES[target]}, librethined on {CORE}"
    return Counted(runtime, instructions, float(np.max(differences)))


def _emulate_timer(emulated: System, timer: Path, place: Path, settings: list[str]) -> int:
    """Instructions of one run on the files in a folder, before and after the programs."""
    counts = place / "counts"
    command = emulated.executed([str(timer), *settings, "1", "0", "1"], counts)
    _run(emulated, command, place)
    first, second, third, fourth = (int(line) for line in counts.read_text().split())
    return second - first + fourth - third


def emulate(emulated: System, folder: Path, artifact: Path, target: str) -> int:
    """Run an artifact, or any graph of its target, on the inputs in a folder.

    Args:
        folder: holds ``inputs.npz``, in the graph's own layouts; gets ``outputs.npz``.

    Returns:
        Instructions of the last run.

    Raises:
        JobError: it cannot be run, or takes too long.
    """
    counts = folder / "counts"
    arguments = [str(folder), str(artifact), target, str(_RUNS)]
    _run(emulated, emulated.command(GUEST, arguments, counts), folder)
    *_, before, after = (int(line) for line in counts.read_text().split())
    return after - before


def _run(emulated: System, command: list[str], place: Path) -> None:
    """Run something in the emulator, in a folder."""
    try:
        done = subprocess.run(
            command,
            cwd=place,
            env=emulated.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIME_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise JobError(f"stopped after {_TIME_LIMIT_S:.0f} s of emulation", 1) from error
    if done.returncode:
        last = last_line(done.stderr)
        raise JobError(f"the emulated run ended with {done.returncode}: {last[:300]}", 1)
