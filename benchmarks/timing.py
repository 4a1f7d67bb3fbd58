"""Statistics of repeated runs. Nothing is clipped: tails are what a user of a phone feels."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt

#: Least runs and least seconds of a measurement; whichever is met first ends it.
RUNS, SECONDS = 50, 10.0
#: Runs compared with as many before them to see whether the first ones are over, and most of them.
_WINDOW, _LONGEST_WARM_UP = 5, 40
#: Medians of two windows that differ by less are taken for equal.
_STEADY = 0.05
#: How far the median of the last third may lie from that of the first.
_DRIFT = 0.10

Milliseconds = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """Milliseconds of one thing, run again and again.

    Attributes:
        runs: counted here; the warm-up is not.
        drift: median of the last third over that of the first, less one.
    """

    runs: int
    min: float
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float
    std: float
    drift: float

    @property
    def unsteady(self) -> bool:
        """The machine became slower or faster while it was measured."""
        return abs(self.drift) > _DRIFT

    def to_dict(self) -> dict[str, float]:
        """By name."""
        return asdict(self)


STATISTICS = ("min", "mean", "p50", "p90", "p95", "p99", "max")


def summarise(times: Milliseconds) -> Summary:
    """Statistics of at least one run, in the order they were made."""
    third = max(1, len(times) // 3)
    p50, p90, p95, p99 = (float(p) for p in np.percentile(times, (50, 90, 95, 99)))
    return Summary(
        runs=len(times),
        min=float(times.min()),
        mean=float(times.mean()),
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        max=float(times.max()),
        std=float(times.std()),
        drift=float(np.median(times[-third:]) / np.median(times[:third]) - 1),
    )


def warm_up(run: Callable[[], float], times: int | None) -> int:
    """Run until steady, or a given number of times.

    Args:
        run: one run; returns its milliseconds.

    Returns:
        Runs made.
    """
    if times is not None:
        for _ in range(times):
            run()
        return times
    seen: list[float] = []
    while len(seen) < _LONGEST_WARM_UP:
        seen.append(run())
        if len(seen) >= 2 * _WINDOW:
            before = np.median(seen[-2 * _WINDOW : -_WINDOW])
            if abs(np.median(seen[-_WINDOW:]) / before - 1) < _STEADY:
                break
    return len(seen)


def enough(done: int, begun: float, runs: int | None) -> bool:
    """Whether a measurement may end: after ``runs``, or else after 50 runs or 10 s."""
    if runs is not None:
        return done >= runs
    return done >= RUNS or (done > 0 and perf_counter() - begun >= SECONDS)


def paired_ratio(
    ours: Milliseconds, theirs: Milliseconds, seed: int = 0
) -> tuple[float, float, float]:
    """Median of the ratios of runs made in turn, and its 95 % confidence interval (bootstrap).

    Args:
        ours, theirs: of equal length; ``ours[i]`` ran beside ``theirs[i]``.
    """
    ratios = ours / theirs
    random = np.random.default_rng(seed)
    drawn = random.choice(ratios, (2000, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
    return float(np.median(ratios)), float(low), float(high)
