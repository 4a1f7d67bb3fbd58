"""Statistics of repeated runs. Nothing is clipped: tails are what a user of a phone feels."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import comb
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
#: Runs of each that a comparison needs: all of five lie on one side of the truth too often.
LEAST_PAIRS, _DOUBT = 6, 0.05

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


def enough(done: int, begun: float, runs: int | None, least: int = 1) -> bool:
    """Whether a measurement may end: after ``runs``, or else after 50 runs or 10 s.

    Args:
        least: runs made however long they take.
    """
    if runs is not None:
        return done >= runs
    return done >= RUNS or (done >= least and perf_counter() - begun >= SECONDS)


def paired_ratio(ours: Milliseconds, theirs: Milliseconds) -> tuple[float, float, float]:
    """Median of the ratios of runs made in turn, and its 95 % confidence interval.

    The interval lies between two of the ratios themselves, so many from either end that the true
    median lies outside at most one time in twenty, whatever the times are distributed like: each
    ratio is as likely above it as below, like a coin.

    Args:
        ours, theirs: of equal length; ``ours[i]`` ran beside ``theirs[i]``.

    Raises:
        ValueError: too few for any such interval.
    """
    ratios = np.sort(ours / theirs)
    count = len(ratios)
    if count < LEAST_PAIRS:
        raise ValueError(
            f"{count} runs of each are too few to compare; pass --runs {LEAST_PAIRS} or more"
        )
    outside, beyond = 0, 0.0
    while (beyond := beyond + 2 * comb(count, outside) / 2**count) <= _DOUBT:
        outside += 1
    return float(np.median(ratios)), float(ratios[outside - 1]), float(ratios[count - outside])
