"""This machine's browser: artifacts in onnxruntime-web or LiteRT.js."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from rethined_export.benchmarks.browser import chromium, packages
from rethined_export.benchmarks.browser.job import measure_apart_in_browser, measure_in_browser
from rethined_export.benchmarks.profiles import Profile
from rethined_export.benchmarks.runners.types import Measured, Plan, Stateless
from rethined_export.benchmarks.sample import sample
from rethined_export.benchmarks.verdict import Provenance
from rethined_export.converters import target_of
from rethined_export.jobs.parent import run_job

#: Runtime and package of each target.
_RUNTIMES = {
    "onnx": ("onnxruntime-web", "onnxruntime-web"),
    "tflite": ("LiteRT.js", "@litertjs/core"),
}
#: A run that takes longer is hung.
_TIME_LIMIT_S = 600.0


class BrowserRunner(Stateless):
    """Runs artifacts one after the other, each in a fresh browser."""

    provenance: Provenance = "host"
    #: As the runtimes call it.
    accelerator = "wasm"

    @staticmethod
    def unreachable(_profile: Profile) -> str:
        """Why it cannot run now; empty if it can."""
        if chromium.executable() is None:
            return "Chromium is not installed (Debian or Ubuntu: apt install chromium)"
        return packages.missing()

    def run(self, artifact: Path, plan: Plan, tell: Callable[[str], None]) -> Measured:
        """Measure one artifact, and compare its output on a photo with this machine's own.

        Raises:
            JobError: not the first of several programs; it cannot be loaded or run, or
                hangs; its output differs; the browser dies.
        """
        with tempfile.TemporaryDirectory(prefix="rethined-") as folder:
            apart = run_job(sample, {"artifact": str(artifact), "folder": folder}, tell)
            work = {
                "folder": folder,
                "threads": plan.threads,
                "accelerator": self.accelerator,
                "warm_up": plan.warm_up,
                "runs": plan.runs,
            }
            if "parts" in apart:
                work |= {"told": apart, "target": target_of(artifact)}
                told = run_job(measure_apart_in_browser, work, tell, time_limit_s=_TIME_LIMIT_S)
            else:
                work["artifact"] = str(artifact)
                told = run_job(measure_in_browser, work, tell, time_limit_s=_TIME_LIMIT_S)
        name, package = _RUNTIMES[target_of(artifact)]
        runtime = f"{name} {packages.VERSIONS[package]} in {_browser(told['agent'])}"
        if told["adapter"]:
            runtime += f" on WebGPU ({told['adapter']})"
        if "parts" in apart:
            runtime += ", librethined"
        return Measured.of(told, runtime, told["difference"])


class WebGpuRunner(BrowserRunner):
    """The same on the GPU that the browser has, or on what it has in a GPU's place."""

    accelerator = "webgpu"


def _browser(agent: str) -> str:
    """Name and version from how a browser announces itself."""
    found = re.search(r"Chrome/(\d+)", agent)
    return f"Chromium {found[1]}" if found else agent
