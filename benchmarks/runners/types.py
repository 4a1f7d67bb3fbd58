"""What a runner is asked for and gives."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from rethined_export.benchmarks.adb.state import DeviceState
from rethined_export.benchmarks.profiles import Profile
from rethined_export.benchmarks.verdict import Provenance

#: How far a device's output may lie from this machine's: the gate between an artifact and torch.
SAME = 1e-4


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes:
        threads: of the runtime.
        warm_up: runs before those that count; None: until steady.
        runs: that count; None: 50, or as many as fit in 10 s.
        tools: the user's builds of a device's own benchmark tools, which then run instead of
            Python.
    """

    threads: int
    warm_up: int | None
    runs: int | None
    tools: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Measured:
    """Times of one artifact, in milliseconds, in the order they were made.

    Attributes:
        runtime: name of what ran it.
        before, inference, after: parts of each fill of an 8-bit photo; total: their sum.
        load: reading the file and making it ready. first: total of the very first run.
        warm_up: runs made before those that count.
        peak_rss_bytes: of the process that ran it.
        difference: largest absolute difference of the output from this machine's own run; None:
            this machine itself.
        device: a device's own account of its state; None: this machine.
        summed: its parts were timed one after the other, not in one fill.
    """

    runtime: str
    before: npt.NDArray[np.float64]
    inference: npt.NDArray[np.float64]
    after: npt.NDArray[np.float64]
    load: float
    first: float
    warm_up: int
    peak_rss_bytes: int
    difference: float | None = None
    device: DeviceState | None = None
    summed: bool = False

    @classmethod
    def of(cls, told: dict[str, Any], runtime: str, difference: float | None = None) -> Self:
        """What a process that timed fills tells as JSON.

        Raises:
            KeyError, TypeError, ValueError: a field is missing, or is no number.
        """
        parts: dict[str, Any] = {
            n: np.array(told[n], np.float64) for n in ("before", "inference", "after")
        }
        rest = {n: told[n] for n in ("load", "first", "warm_up", "peak_rss_bytes")}
        return cls(runtime=runtime, **parts, **rest, difference=difference)

    @property
    def total(self) -> npt.NDArray[np.float64]:
        """Whole fills."""
        return self.before + self.inference + self.after


@dataclass(frozen=True)
class Spread:
    """Milliseconds of runs that a tool sums up without listing them; None: it does not say."""

    runs: int
    min: float
    mean: float
    max: float
    std: float
    p50: float | None
    p95: float | None

    def bounds(self, statistic: str) -> tuple[float, float]:
        """Between which two figures a statistic lies; the same one twice where the tool gives it.

        Args:
            statistic: one of ``timing.STATISTICS``.
        """
        if (exact := getattr(self, statistic, None)) is not None:
            return exact, exact
        marks = {0: self.min, 50: self.p50, 95: self.p95, 100: self.max}
        known = {share: value for share, value in marks.items() if value is not None}
        asked = int(statistic.removeprefix("p"))
        below, above = (s for s in known if s < asked), (s for s in known if s > asked)
        return known[max(below)], known[min(above)]

    def to_dict(self) -> dict[str, float | None]:
        """By name."""
        return asdict(self)


@dataclass(frozen=True)
class ToolRun:
    """What a device's own benchmark tool tells: inference alone, in milliseconds.

    Attributes:
        runtime: the tool and what it ran.
        inference: each run in order, or what the tool says of all.
        load, first, peak_rss_bytes: as in ``Measured``; None: not told.
        warm_up: runs made before those that count.
        difference: as in ``Measured``; None: the tool hands no outputs out.
        device: its own account of its state.
        parts: of a fill by several programs, whose sum ``inference`` then is: a whole fill.
    """

    runtime: str
    inference: npt.NDArray[np.float64] | Spread
    load: float | None
    first: float | None
    warm_up: int
    peak_rss_bytes: int | None
    difference: float | None
    device: DeviceState | None = None
    parts: dict[str, Spread] | None = None


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


Made = Measured | ToolRun | Counted


class Runner(Protocol):
    """A device while it is being used; leaving its context leaves nothing behind on it."""

    provenance: Provenance

    def __init__(self, profile: Profile) -> None: ...

    @staticmethod
    def unreachable(profile: Profile) -> str:
        """Why the device cannot be measured now, in words after "cannot be reached:", or empty."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *failure: object) -> None: ...

    def run(self, artifact: Path, plan: Plan, tell: Callable[[str], None]) -> Made:
        """Measure one artifact, telling each stage."""


class Stateless:
    """What a runner is that keeps nothing, here or on its device, between runs."""

    def __init__(self, _profile: Profile) -> None:
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        return None
