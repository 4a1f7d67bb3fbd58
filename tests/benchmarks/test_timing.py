"""Statistics and verdicts, on times that are known."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rethined_export.benchmarks import timing
from rethined_export.benchmarks.verdict import judge


@given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=200))
def test_statistics_are_ordered_and_clip_nothing(values: list[float]) -> None:
    made = timing.summarise(np.array(values))
    assert made.min == min(values)
    assert made.max == max(values)
    assert made.runs == len(values)
    order = [made.min, made.p50, made.p90, made.p95, made.p99, made.max]
    assert all(a <= b * (1 + 1e-12) for a, b in pairwise(order))


def test_drift_is_seen_and_noise_is_not() -> None:
    noise = np.random.default_rng(0).normal(10, 0.5, 90)
    assert not timing.summarise(noise).unsteady
    throttled = noise * np.linspace(1, 1.4, 90)
    made = timing.summarise(throttled)
    assert made.unsteady
    assert made.drift == pytest.approx(0.27, abs=0.06)


def falling() -> Iterator[float]:
    for run in range(1000):
        yield 10 + 30 * 0.6**run


def test_warm_up_lasts_until_steady() -> None:
    times = falling()
    made = timing.warm_up(lambda: next(times), None)
    assert 8 <= made <= 25
    assert next(times) < 10.5
    assert timing.warm_up(lambda: 1.0, 3) == 3


def test_a_machine_that_never_settles_is_not_waited_for() -> None:
    times = iter(2.0**run for run in range(1000))
    assert timing.warm_up(lambda: next(times), None) == 40


def test_paired_ratio_sees_through_shared_noise() -> None:
    random = np.random.default_rng(1)
    load = random.uniform(1, 3, 60)  # what else the machine does, felt by both
    first = 10 * load * random.normal(1, 0.01, 60)
    second = 11 * load * random.normal(1, 0.01, 60)
    ratio, low, high = timing.paired_ratio(second, first)
    assert low < 1.1 < high
    assert ratio == pytest.approx(1.1, abs=0.01)
    assert high - low < 0.02


@pytest.mark.parametrize(
    ("milliseconds", "provenance", "unsteady", "said"),
    [
        (29.9, "host", False, "meets the budget"),
        (30.1, "on-device", False, "over the budget"),
        (5.0, "emulated", False, "not known (emulated wall time says nothing of the device)"),
        (None, "host", False, "not known (it did not run)"),
        (29.0, "host", True, "not known (29.0 ms, but the run was unsteady)"),
        (90.0, "host", True, "over the budget (the run was unsteady)"),
    ],
)
def test_verdicts(milliseconds, provenance, unsteady, said) -> None:
    assert str(judge(milliseconds, 30.0, provenance, unsteady=unsteady)) == said


@pytest.mark.parametrize("runs", [6, 7, 20, 60])
def test_a_thing_compared_with_itself_is_seldom_different(runs: int) -> None:
    """At most one time in twenty, plus three standard deviations of 2000 tries (1.5 %)."""
    random = np.random.default_rng(runs)
    excluded = 0
    for _ in range(2000):
        one, other = random.lognormal(0, 0.3, (2, runs))
        ratio, low, high = timing.paired_ratio(one, other)
        assert low <= ratio <= high
        excluded += not low <= 1 <= high
    assert excluded / 2000 < 0.065


def test_few_runs_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="5 runs of each are too few"):
        timing.paired_ratio(np.ones(5), np.ones(5))


def test_some_runs_are_made_however_long_they_take() -> None:
    long_ago = -1e9
    assert timing.enough(1, long_ago, None)
    assert not timing.enough(5, long_ago, None, least=6)
    assert timing.enough(6, long_ago, None, least=6)
