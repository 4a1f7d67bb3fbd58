"""Apple's devices: this Mac, or a phone or tablet attached to it, with Core ML itself."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rethined_export.benchmarks.apple import measure_on_apple, reason_against
from rethined_export.benchmarks.profiles import Profile
from rethined_export.benchmarks.runners.types import Measured, Plan, Stateless, ToolRun
from rethined_export.benchmarks.sample import sample
from rethined_export.benchmarks.verdict import Provenance
from rethined_export.errors import UserError
from rethined_export.jobs.parent import run_job


class AppleRunner(Stateless):
    """Runs artifacts one after the other, each in a fresh process."""

    provenance: Provenance

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self._model = profile.model
        self.provenance = "on-device" if profile.model else "host"

    @staticmethod
    def unreachable(profile: Profile) -> str:
        """Why it cannot run now; empty if it can."""
        return reason_against(profile.model)

    def run(self, artifact: Path, plan: Plan, tell: Callable[[str], None]) -> Measured | ToolRun:
        """Measure one artifact, and compare its output on a photo with that of this Mac's CPU.

        On an attached device inference alone is timed, by Core ML there.

        Raises:
            UserError: it is one of several programs.
            JobError: it cannot be loaded or run; the device is gone.
        """
        with tempfile.TemporaryDirectory(prefix="rethined-") as folder:
            told = run_job(sample, {"artifact": str(artifact), "folder": folder}, tell)
            if "parts" in told:
                raise UserError(
                    f"{artifact} is one of several; Apple's devices run whole artifacts"
                )
            job = {
                "artifact": str(artifact),
                "folder": folder,
                "model": self._model,
                "warm_up": plan.warm_up,
                "runs": plan.runs,
            }
            told = run_job(measure_on_apple, job, tell)
        units = ", ".join(f"{name} {count}" for name, count in told["units"].items())
        runtime = f"Core ML on {told['where']} (operators: {units})"
        if self._model:
            return ToolRun(
                runtime=runtime,
                inference=np.array(told["inference"]),
                load=told["load"],
                first=None,
                warm_up=told["warm_up"],
                peak_rss_bytes=None,
                difference=told["difference"],
            )
        return Measured.of(told, runtime, told["difference"])
