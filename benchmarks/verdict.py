"""Does an artifact meet the budget? Only wall times of the device itself can say yes or no."""

from dataclasses import dataclass
from typing import Literal

from rethined_export.benchmarks.profiles import Profile

Provenance = Literal["on-device", "emulated", "host"]
MEETS, OVER, NOT_KNOWN = "meets the budget", "over the budget", "not known"
#: Instructions a cycle that vector code reaches on one core, from waiting for memory to full width.
_PER_CYCLE = (1.0, 3.0)
#: How a fill came about that no run made as a whole.
SUMMED = "summed from parts timed one after the other"
#: A figure that something is wrong with decides nothing within this share of the budget.
_NEAR = 0.2


@dataclass(frozen=True)
class Verdict:
    """The answer, and why it is not a better one.

    Attributes:
        answer: one of the three above. reason: empty, or what to read with it.
    """

    answer: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.answer} ({self.reason})" if self.reason else self.answer


def judge(
    milliseconds: float | None, budget_ms: float, provenance: Provenance, *, unsteady: bool
) -> Verdict:
    """Compare one statistic with the budget.

    Args:
        milliseconds: the statistic; None where the artifact did not run.
        unsteady: the run drifted; then a figure near the budget decides nothing.
    """
    if milliseconds is None:
        return Verdict(NOT_KNOWN, "it did not run")
    if provenance == "emulated":
        return Verdict(NOT_KNOWN, "emulated wall time says nothing of the device")
    answer = MEETS if milliseconds <= budget_ms else OVER
    if unsteady:
        if abs(milliseconds / budget_ms - 1) < _NEAR:
            return Verdict(NOT_KNOWN, f"{milliseconds:.1f} ms, but the run was unsteady")
        return Verdict(answer, "the run was unsteady")
    return Verdict(answer)


def judge_inference(low: float, high: float, budget_ms: float, *, unsteady: bool) -> Verdict:
    """Compare inference alone with a budget that is for whole fills.

    Over the budget is certain; within it is said only with a fifth of the budget to spare for what
    a tool does not time.

    Args:
        low, high: between which milliseconds the statistic lies.
        unsteady: the run drifted; then a figure near the budget decides nothing.
    """
    figure = f"{low:.1f} ms" if low == high else f"between {low:.1f} and {high:.1f} ms"
    reason = f"inference alone, {figure}; photo to inputs and back is not timed"
    if unsteady:
        reason += "; the run was unsteady"
    if low > budget_ms * (1 + _NEAR * unsteady):
        return Verdict(OVER, reason)
    if high > budget_ms * (1 - _NEAR):
        return Verdict(NOT_KNOWN, reason)
    return Verdict(MEETS, reason)


def judge_summed(low: float, high: float, budget_ms: float) -> Verdict:
    """Compare whole fills with the budget whose parts were timed one after the other.

    Args:
        low, high: between which milliseconds the statistic lies.
    """
    reason = f"between {low:.1f} and {high:.1f} ms, {SUMMED}"
    if low > budget_ms:
        return Verdict(OVER, reason)
    return Verdict(MEETS if high <= budget_ms else NOT_KNOWN, reason)


def band(instructions: int, profile: Profile) -> tuple[float, float] | None:
    """Milliseconds on the strongest core, fast and slow; None where the cores are not known."""
    if not profile.cores:
        return None
    slow, fast = (1e-6 * instructions / (profile.cores[0].ghz * rate) for rate in _PER_CYCLE)
    return fast, slow


def estimate(instructions: int, profile: Profile) -> str:
    """A band of milliseconds from a count of instructions, with what it assumes."""
    made = band(instructions, profile)
    if made is None:
        return f"emulated, {instructions / 1e9:.2f} G instructions"
    core = profile.cores[0]
    return (
        f"estimate {made[0]:.0f}–{made[1]:.0f} ms: {instructions / 1e9:.2f} G instructions on one "
        f"{core.name} at {core.ghz:g} GHz, {_PER_CYCLE[0]:g} to {_PER_CYCLE[1]:g} a cycle"
    )
