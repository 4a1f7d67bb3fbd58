"""This machine: a fresh process for each artifact."""

from collections.abc import Callable
from pathlib import Path

from rethined_export.benchmarks.measure import measure
from rethined_export.benchmarks.profiles import Profile
from rethined_export.benchmarks.runners.types import Measured, Plan, Stateless
from rethined_export.benchmarks.verdict import Provenance
from rethined_export.jobs.parent import run_job

#: A run that takes longer is hung.
_TIME_LIMIT_S = 600.0


class HostRunner(Stateless):
    """Runs artifacts here, one after the other."""

    provenance: Provenance = "host"

    @staticmethod
    def unreachable(_profile: Profile) -> str:
        """This machine is always there."""
        return ""

    def run(self, artifact: Path, plan: Plan, tell: Callable[[str], None]) -> Measured:
        """Measure one artifact.

        Raises:
            JobError: it cannot be loaded or run, or hangs.
        """
        job = {
            "artifact": str(artifact),
            "threads": plan.threads,
            "warm_up": plan.warm_up,
            "runs": plan.runs,
        }
        told = run_job(measure, job, tell, time_limit_s=_TIME_LIMIT_S)
        return Measured.of(told, told["runtime"])
