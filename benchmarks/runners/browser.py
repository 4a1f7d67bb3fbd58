"""This machine's browser: whole artifacts in onnxruntime-web or LiteRT.js."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np

from rethined_export.benchmarks.browser import chromium, packages
from rethined_export.benchmarks.profiles import Profile
from rethined_export.benchmarks.runners.types import Measured, Plan
from rethined_export.benchmarks.verdict import Provenance
from rethined_export.converters import target_of
from rethined_export.jobs import run_job

#: Runtime and package of each target.
_RUNTIMES = {
    "onnx": ("onnxruntime-web", "onnxruntime-web"),
    "tflite": ("LiteRT.js", "@litertjs/core"),
}
#: A run that takes longer is hung.
_TIME_LIMIT_S = 600.0


class BrowserRunner:
    """Runs artifacts one after the other, each in a fresh browser."""

    provenance: Provenance = "host"

    def __init__(self, _profile: Profile) -> None:
        return

    @staticmethod
    def unreachable(_profile: Profile) -> str:
        """Why it cannot run now; empty if it can."""
        if chromium.executable() is None:
            return "Chromium is not installed (Debian or Ubuntu: apt install chromium)"
        return packages.missing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        return None

    def run(self, artifact: Path, plan: Plan, tell: Callable[[str], None]) -> Measured:
        """Measure one artifact, and compare its output on a photo with this machine's own.

        Raises:
            JobError: half of a pair; it cannot be loaded or run, or hangs; its output differs; the
                browser dies.
        """
        with tempfile.TemporaryDirectory(prefix="rethined-") as folder:
            run_job("sample", {"artifact": str(artifact), "folder": folder}, tell)
            job = {
                "artifact": str(artifact),
                "folder": folder,
                "threads": plan.threads,
                "warm_up": plan.warm_up,
                "runs": plan.runs,
            }
            told = run_job("measure_in_browser", job, tell, time_limit_s=_TIME_LIMIT_S)
        name, package = _RUNTIMES[target_of(artifact)]
        return Measured(
            runtime=f"{name} {packages.VERSIONS[package]} in {_browser(told['agent'])}",
            before=np.array(told["before"]),
            inference=np.array(told["inference"]),
            after=np.array(told["after"]),
            load=told["load"],
            first=told["first"],
            warm_up=told["warm_up"],
            peak_rss_bytes=told["page_rss_bytes"],
            difference=told["difference"],
        )


def _browser(agent: str) -> str:
    """Name and version from how a browser announces itself."""
    found = re.search(r"Chrome/(\d+)", agent)
    return f"Chromium {found[1]}" if found else agent
