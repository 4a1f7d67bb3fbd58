"""arm64 under user-mode emulation: its outputs, and how many instructions a run takes.

Wall times there say nothing of a device and are not reported. An emulated run takes 10 to 30
seconds at 512.
"""

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from rethined_export.benchmarks.arm64.system import CORE, System, missing, system
from rethined_export.benchmarks.profiles import Profile
from rethined_export.benchmarks.runners.types import RUNTIMES, Counted, Plan, Stateless
from rethined_export.benchmarks.sample import difference, sample
from rethined_export.benchmarks.verdict import Provenance
from rethined_export.converters import target_of
from rethined_export.jobs.parent import JobError, last_line, run_job

GUEST = Path(__file__).parents[1] / "arm64" / "guest.py"
#: The first run also prepares the runtime's kernels; the last one is reported.
_RUNS = 2
_TIME_LIMIT_S = 900.0


class Arm64Runner(Stateless):
    """Runs whole artifacts in the emulator, one after the other, on a photo."""

    provenance: Provenance = "emulated"

    @staticmethod
    def unreachable(_profile: Profile) -> str:
        """Why it cannot run now; empty if it can."""
        return missing()

    def run(self, artifact: Path, _plan: Plan, tell: Callable[[str], None]) -> Counted:
        """Run an artifact natively and in the emulator, compare, and count instructions.

        Raises:
            UserError: half of a pair.
            UnavailableError: the emulator is not built.
            JobError: the artifact cannot be run, or takes too long.
        """
        emulated, target = system(), target_of(artifact)
        with tempfile.TemporaryDirectory(prefix="rethined-") as name:
            folder = Path(name)
            run_job(sample, {"artifact": str(artifact), "folder": name}, tell)
            tell("emulating")
            instructions = emulate(emulated, folder, artifact, target)
            return Counted(f"{RUNTIMES[target]} on {CORE}", instructions, difference(folder))


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
    command = emulated.command(GUEST, arguments, counts)
    try:
        done = subprocess.run(
            command,
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
    *_, before, after = (int(line) for line in counts.read_text().split())
    return after - before
