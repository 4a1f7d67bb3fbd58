"""Does an artifact meet the budget? Only wall times of the device itself can say yes or no."""

from dataclasses import dataclass
from typing import Literal

Provenance = Literal["on-device", "emulated", "host"]
MEETS, OVER, NOT_KNOWN = "meets the budget", "over the budget", "not known"


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
        near = abs(milliseconds / budget_ms - 1) < 0.2
        if near:
            return Verdict(NOT_KNOWN, f"{milliseconds:.1f} ms, but the run was unsteady")
        return Verdict(answer, "the run was unsteady")
    return Verdict(answer)
