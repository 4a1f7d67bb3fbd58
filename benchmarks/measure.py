"""Jobs that time fills on this machine."""

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from rethined_export.benchmarks import timing
from rethined_export.benchmarks.subjects import RUNTIMES, Parts, Subject, subject
from rethined_export.converters import target_of
from rethined_export.jobs.registry import Report, job


@job
def measure(
    report: Report, *, artifact: str, threads: int, warm_up: int | None, runs: int | None
) -> dict[str, Any]:
    """Time fills by an artifact: ``before``, ``inference`` and ``after`` of each, in milliseconds.

    Args:
        warm_up: runs that do not count; None: until steady. runs: that do; None: 50 or 10 s.
    """
    report("loading")
    begun = time.perf_counter()
    with subject(Path(artifact), threads) as fill:
        load = 1e3 * (time.perf_counter() - begun)
        times = times_of(report, fill, warm_up, runs)
    return {"runtime": RUNTIMES[target_of(Path(artifact))], "load": load, **times}


@job
def measure_in_turn(
    report: Report, *, artifacts: list[str], threads: int, warm_up: int | None, runs: int | None
) -> dict[str, Any]:
    """Time two artifacts turn about in one process: ``times``, the milliseconds of each."""
    report("loading")
    with ExitStack() as stack:
        fills = [stack.enter_context(subject(Path(path), threads)) for path in artifacts]
        report("warming up")
        totals = [partial(_milliseconds, fill) for fill in fills]
        for run in totals:
            timing.warm_up(run, warm_up)
        report("measuring in turn")
        begun = time.perf_counter()
        times: list[list[float]] = [[] for _ in fills]
        while not timing.enough(len(times[0]), begun, runs, timing.LEAST_PAIRS):
            for run, own in zip(totals, times, strict=True):
                own.append(run())
    return {"times": times}


def times_of(
    report: Report, fill: Subject, warm_up: int | None, runs: int | None
) -> dict[str, Any]:
    """The first fill, warm-up, and the parts of the fills that count."""
    report("warming up")
    first = fill().total
    warmed = 1 + timing.warm_up(partial(_milliseconds, fill), warm_up)
    report("measuring")
    begun = time.perf_counter()
    parts: list[Parts] = []
    while not timing.enough(len(parts), begun, runs):
        parts.append(fill())
    return {
        "first": first,
        "warm_up": warmed,
        **{name: [getattr(p, name) for p in parts] for name in ("before", "inference", "after")},
    }


def _milliseconds(fill: Subject) -> float:
    """Of one fill."""
    return fill().total
