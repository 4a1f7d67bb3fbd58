"""Fills whose parts were timed one after the other, put together."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rethined_export.benchmarks.runners.types import Measured, Spread, ToolRun
from rethined_export.jobs.parent import JobError

Milliseconds = npt.NDArray[np.float64]


def read_timer(text: str, runs: int) -> tuple[Milliseconds, Milliseconds]:
    """What a timer printed: milliseconds before the programs, and after, of each run.

    Raises:
        JobError: not ``runs`` lines of two times.
    """
    try:
        times = np.array([[float(word) for word in line.split()] for line in text.splitlines()])
    except ValueError as error:
        raise JobError("the timer's lines cannot be read", 1) from error
    if times.shape != (runs, 2) or not np.all(times > 0):
        raise JobError(f"the timer gave no times that make sense of {runs} runs", 1)
    return times[:, 0], times[:, 1]


def read_filled(file: Path, folder: Path) -> float:
    """Largest difference of a ``filled.raw`` of floats from ``own.npz``.

    Raises:
        JobError: it has another size.
    """
    with np.load(folder / "own.npz") as stored:
        own = stored["output"]
    made = np.fromfile(file, np.float32)
    if made.size != own.size:
        raise JobError(f"the timer left {made.size} numbers, not {own.size}", 1)
    return float(np.abs(made.reshape(own.shape) - own).max())


def joined(
    made: Mapping[str, Measured | ToolRun],
    runs: Mapping[str, int],
    before: Milliseconds,
    after: Milliseconds,
    difference: float,
) -> Measured | ToolRun:
    """One fill from its parts: run by run where every run was listed, else from their sums.

    Args:
        made: each program by itself. runs: how often a fill runs it.
        before, after: what was timed beside them.
        difference: of the filled photo from this machine's own.
    """
    programs = list(made.values())
    differences = [p.difference for p in programs if p.difference is not None]
    worst = float(np.max([difference, *differences]))  # NaN stays
    loads = [p.load for p in programs]
    load = None if None in loads else sum(filter(None, loads))
    peaks = [p.peak_rss_bytes for p in programs if p.peak_rss_bytes is not None]
    runtime = f"{programs[0].runtime}, librethined"
    listed = [p.inference for p in programs if not isinstance(p.inference, Spread)]
    if len(listed) == len(programs) and load is not None and peaks:
        count = min(len(before), *(len(times) for times in listed))
        inference = np.sum(
            [runs[n] * times[:count] for n, times in zip(made, listed, strict=True)], axis=0
        )
        first = before[0] + after[0] + sum(p.first or 0.0 for p in programs)
        return Measured(
            runtime=runtime,
            before=before[:count],
            inference=inference,
            after=after[:count],
            load=load,
            first=float(first),
            warm_up=min(p.warm_up for p in programs),
            peak_rss_bytes=max(peaks),
            difference=worst,
            summed=True,
        )
    parts = {"before": spread(before), "after": spread(after)}
    parts |= {name: _times(_spread_of(p), runs[name]) for name, p in made.items()}
    return ToolRun(
        runtime=runtime,
        inference=summed(list(parts.values())),
        load=load,
        first=None,
        warm_up=min(p.warm_up for p in programs),
        peak_rss_bytes=max(peaks, default=None),
        difference=worst,
        parts=parts,
    )


def spread(times: Milliseconds) -> Spread:
    """Of runs that are listed."""
    p50, p95 = (float(x) for x in np.percentile(times, [50, 95]))
    return Spread(
        len(times),
        float(times.min()),
        float(times.mean()),
        float(times.max()),
        float(times.std()),
        p50,
        p95,
    )


def summed(parts: Sequence[Spread]) -> Spread:
    """Of the sum of independent parts: its mean, and between what it lies; no percentile."""
    return Spread(
        min(part.runs for part in parts),
        sum(part.min for part in parts),
        sum(part.mean for part in parts),
        sum(part.max for part in parts),
        float(np.sqrt(sum(part.std**2 for part in parts))),
        None,
        None,
    )


def _spread_of(made: Measured | ToolRun) -> Spread:
    return made.inference if isinstance(made.inference, Spread) else spread(made.inference)


def _times(one: Spread, runs: int) -> Spread:
    """Of several runs after each other."""
    return one if runs == 1 else replace(summed([one] * runs), runs=one.runs)
