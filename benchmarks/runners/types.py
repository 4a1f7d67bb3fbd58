"""What a runner is asked for and gives."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from rethined_export.benchmarks.profiles import Profile
from rethined_export.benchmarks.verdict import Provenance

#: What runs the artifacts of each target, except on Apple's devices.
RUNTIMES = {"onnx": "ONNX Runtime", "tflite": "LiteRT"}


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes:
        threads: of the runtime.
        warm_up: runs before those that count; None: until steady.
        runs: that count; None: 50, or as many as fit in 10 s.
    """

    threads: int
    warm_up: int | None
    runs: int | None


@dataclass(frozen=True)
class Measured:
    """Times of one artifact, in milliseconds, in the order they were made.

    Attributes:
        runtime: name of what ran it.
        before, inference, after: parts of each fill of an 8-bit photo; total: their sum.
        load: reading the file and making it ready. first: total of the very first run.
        warm_up: runs made before those that count.
        peak_rss_bytes: of the process that ran it; None: not known.
        difference: largest absolute difference of the output from this machine's own run; None:
            this machine itself.
    """

    runtime: str
    before: npt.NDArray[np.float64]
    inference: npt.NDArray[np.float64]
    after: npt.NDArray[np.float64]
    load: float
    first: float
    warm_up: int
    peak_rss_bytes: int | None
    difference: float | None = None

    @property
    def total(self) -> npt.NDArray[np.float64]:
        """Whole fills."""
        return self.before + self.inference + self.after


@dataclass(frozen=True)
class Counted:
    """One emulated run.

    Attributes:
        runtime: what ran it, on which emulated core.
        instructions: retired by one run, after one that warmed up.
        difference: largest absolute difference of the output from this machine's own run.
    """

    runtime: str
    instructions: int
    difference: float


class Runner(Protocol):
    """A device while it is being used; leaving its context leaves nothing behind on it."""

    provenance: Provenance

    def __init__(self, profile: Profile) -> None: ...

    @staticmethod
    def unreachable(profile: Profile) -> str:
        """Why the device cannot be measured now, in words after "cannot be reached:", or empty."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *failure: object) -> None: ...

    def run(self, artifact: Path, plan: Plan, tell: Callable[[str], None]) -> Measured | Counted:
        """Measure one artifact, telling each stage."""
