"""Fills put together from parts that were timed one after the other."""

from pathlib import Path

import numpy as np
import pytest

from rethined_export.benchmarks.runners.apart import joined, read_filled, read_timer, spread, summed
from rethined_export.benchmarks.runners.types import Measured, Spread, ToolRun
from rethined_export.benchmarks.verdict import judge_summed
from rethined_export.jobs.parent import JobError

BEFORE, AFTER = np.array([1.0, 2.0, 3.0]), np.array([4.0, 4.0, 4.0])


def listed(*milliseconds: float, difference: float | None = 1e-6) -> Measured:
    times = np.array(milliseconds)
    return Measured("runtime", 0 * times, times, 0 * times, 10.0, 50.0, 3, 1 << 20, difference)


def told(milliseconds: float, difference: float | None = None) -> ToolRun:
    low, high = milliseconds - 1, milliseconds + 1
    times = Spread(50, low, milliseconds, high, 0.5, milliseconds, high)
    return ToolRun("tool", times, 20.0, None, 10, None, difference)


def test_runs_that_are_listed_are_added_one_by_one() -> None:
    parts = {"low": listed(30, 31, 32, 33), "choose": listed(5, 6, 7, difference=2e-5)}
    made = joined(parts, {"low": 1, "choose": 3}, BEFORE, AFTER, 1e-6)
    assert isinstance(made, Measured) and made.summed
    np.testing.assert_allclose(made.inference, [45, 49, 53])
    np.testing.assert_allclose(made.total, [50, 55, 60])
    assert made.load == 20 and made.difference == 2e-5
    assert made.runtime == "runtime, librethined"


def test_runs_that_a_tool_sums_up_give_bounds() -> None:
    made = joined({"low": told(30), "choose": listed(5, 7)}, {"low": 1, "choose": 2},
                  BEFORE, AFTER, 3e-6)  # fmt: skip
    assert isinstance(made, ToolRun) and made.parts is not None
    assert isinstance(made.inference, Spread)
    assert made.inference.mean == pytest.approx(2 + 4 + 30 + 2 * 6)
    assert made.inference.bounds("p90") == (1 + 4 + 29 + 2 * 5, 3 + 4 + 31 + 2 * 7)
    assert set(made.parts) == {"before", "after", "low", "choose"}
    assert made.difference == 3e-6


def test_a_wrong_part_is_a_wrong_fill() -> None:
    parts = {"low": listed(30, difference=np.nan), "choose": listed(5)}
    assert np.isnan(joined(parts, {"low": 1, "choose": 1}, BEFORE, AFTER, 0.0).difference)


def test_a_sum_lies_between_the_sums() -> None:
    random = np.random.default_rng(0)
    parts = [random.gamma(3, 2, 200) for _ in range(3)]
    whole, exact = summed([spread(part) for part in parts]), np.sum(parts, axis=0)
    assert whole.min <= exact.min() and exact.max() <= whole.max
    assert whole.mean == pytest.approx(exact.mean())


@pytest.mark.parametrize(
    ("low", "high", "answer"),
    [(20, 29, "meets the budget"), (25, 31, "not known"), (31, 40, "over the budget")],
)
def test_verdicts(low: float, high: float, answer: str) -> None:
    verdict = judge_summed(low, high, 30)
    assert verdict.answer == answer and "one after the other" in verdict.reason


@pytest.mark.parametrize("text", ["", "1 2", "1 2\n3 x", "1 2\n3", "1 2\n0 4", "1 2\nnan 4"])
def test_a_timer_that_says_something_else(text: str) -> None:
    with pytest.raises(JobError, match="timer"):
        read_timer(text, 2)


def test_what_a_timer_says() -> None:
    before, after = read_timer("1.5 2.5\n3.5 4.5\n", 2)
    assert before.tolist() == [1.5, 3.5] and after.tolist() == [2.5, 4.5]


def test_filled_photos_are_compared(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", output=np.zeros((4, 4, 3), np.float32))
    np.full(48, 0.25, np.float32).tofile(tmp_path / "filled.raw")
    assert read_filled(tmp_path / "filled.raw", tmp_path) == 0.25
    np.zeros(47, np.float32).tofile(tmp_path / "filled.raw")
    with pytest.raises(JobError, match="47 numbers, not 48"):
        read_filled(tmp_path / "filled.raw", tmp_path)
