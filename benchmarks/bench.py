"""One benchmark: artifacts on a device, their statistics, and what they say of the budget."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rethined_export.benchmarks.adb.state import DeviceState
from rethined_export.benchmarks.calibration import Calibration
from rethined_export.benchmarks.measure import measure_in_turn
from rethined_export.benchmarks.operators import Operators, operators
from rethined_export.benchmarks.profiles import Profile
from rethined_export.benchmarks.runners import runner, stand_in
from rethined_export.benchmarks.runners.types import (
    SAME,
    Counted,
    Measured,
    Plan,
    Spread,
    ToolRun,
)
from rethined_export.benchmarks.timing import Summary, paired_ratio, summarise
from rethined_export.benchmarks.verdict import (
    NOT_KNOWN,
    SUMMED,
    Provenance,
    Verdict,
    band,
    estimate,
    judge,
    judge_inference,
    judge_summed,
)
from rethined_export.converters import target_of
from rethined_export.errors import ParityError, UserError
from rethined_export.jobs.parent import JobError, run_job

#: Of the document that ``--json`` prints; a reader of another one must look again.
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Result:
    """One artifact on one device.

    Attributes:
        total, parts: whole fills, and ``before``, ``inference``, ``after``; None: not timed.
        counted: what an emulated run gives instead of times.
        tool, inference: what a device's own tool gives instead of whole fills.
        band: estimated milliseconds of a counted run, fast and slow.
        operators: the heaviest, where they were asked for.
        failure: why it did not run, or why its figures mean nothing.
    """

    path: Path
    provenance: Provenance
    verdict: Verdict
    measured: Measured | None = None
    total: Summary | None = None
    parts: dict[str, Summary] | None = None
    counted: Counted | None = None
    tool: ToolRun | None = None
    inference: Summary | Spread | None = None
    band: tuple[float, float] | None = None
    operators: Operators | None = None
    failure: str = ""
    exit_code: int = 0

    @property
    def difference(self) -> float | None:
        """Largest absolute difference of the output from this machine's own; None: not compared."""
        ran = self.measured or self.counted or self.tool
        return None if ran is None else ran.difference

    @property
    def device(self) -> DeviceState | None:
        """The device's own account of its state; None: it gives none."""
        ran = self.measured or self.tool
        return None if ran is None else ran.device

    def to_dict(self) -> dict[str, Any]:
        """The entry of ``--json``."""
        done, counted = self.measured or self.tool, self.counted
        ran = done or counted
        parts: Mapping[str, Summary | Spread | None] | None = self.parts
        if self.inference:
            parts = {"inference": self.inference}
        if self.tool is not None and self.tool.parts is not None:
            parts = {**self.tool.parts, "whole fill": self.inference}
        timed = self.total or self.inference
        return {
            "path": str(self.path),
            "runtime": ran and ran.runtime,
            "provenance": self.provenance,
            "ms": self.total and self.total.to_dict(),
            "parts_ms": parts and {name: s.to_dict() for name, s in parts.items() if s},
            "load_ms": done and done.load,
            "first_ms": done and done.first,
            "warm_up_runs": done and done.warm_up,
            "peak_rss_bytes": done and done.peak_rss_bytes,
            "unsteady": timed.unsteady if isinstance(timed, Summary) else None,
            "instructions": counted and counted.instructions,
            "estimate_ms": self.band,
            "difference_from_host": self.difference,
            "device_state": self.device and self.device.to_dict(),
            "operators": self.operators and self.operators.to_dict(),
            "verdict": self.verdict.answer,
            "reason": self.verdict.reason,
            "failure": self.failure or None,
        }


@dataclass(frozen=True)
class Comparison:
    """Two artifacts run turn about: how long the second takes over the first."""

    first: Path
    second: Path
    ratio: float
    low: float
    high: float


def bench(
    profile: Profile,
    artifacts: Sequence[Path],
    plan: Plan,
    budget_ms: float,
    statistic: str,
    tell: Callable[[str, str], None],
    calibration: Calibration | None = None,
) -> list[Result]:
    """Measure every artifact; one that fails does not stop the others.

    Args:
        statistic: of whole fills, that the budget is for.
        tell: called with an artifact's name and its stage.
        calibration: in place of the profile's cores, where instructions are counted.
    """
    results = []
    with runner(profile) as device:
        for path in artifacts:

            def stage(text: str, name: str = path.name) -> None:
                tell(name, text)

            try:
                made = device.run(path, plan, stage)
            except (JobError, UserError) as error:
                verdict = judge(None, budget_ms, device.provenance, unsteady=False)
                results.append(
                    Result(
                        path,
                        device.provenance,
                        verdict,
                        failure=str(error),
                        exit_code=error.exit_code,
                    )
                )
                continue
            if isinstance(made, Counted):
                result = _counted(path, profile, made, calibration)
            elif isinstance(made, ToolRun):
                result = _tool(path, device.provenance, made, budget_ms, statistic)
            else:
                result = _timed(path, device.provenance, made, budget_ms, statistic)
            results.append(_held_to_parity(result))
    return results


def _held_to_parity(result: Result) -> Result:
    """Figures of a run whose output is wrong mean nothing, however good they are."""
    difference = result.difference
    if difference is None or difference <= SAME:  # NaN is not
        return result
    where = {"host": "", "on-device": "on the device ", "emulated": "on arm64 "}[result.provenance]
    said = f"its output differs by {difference:.1e} from this machine's own (at most {SAME:.0e})"
    return replace(
        result,
        verdict=Verdict(NOT_KNOWN, "its output is wrong"),
        failure=where + said,
        exit_code=ParityError.exit_code,
    )


def _counted(
    path: Path, profile: Profile, counted: Counted, calibration: Calibration | None
) -> Result:
    """A count is no time: the verdict is open, with an estimate where something allows one."""
    count = counted.instructions
    if calibration is None:
        reason, milliseconds = estimate(count, profile), band(count, profile)
    else:
        target = target_of(path)
        reason = calibration.estimate(target, count)
        milliseconds = calibration.band(target, count)
    if instead := stand_in(profile):
        reason = f"{instead}; {reason}"
    verdict = Verdict(NOT_KNOWN, reason)
    return Result(path, "emulated", verdict, counted=counted, band=milliseconds)


def _timed(
    path: Path, provenance: Provenance, measured: Measured, budget_ms: float, statistic: str
) -> Result:
    total = summarise(measured.total)
    parts = {name: summarise(getattr(measured, name)) for name in ("before", "inference", "after")}
    figure = float(getattr(total, statistic))
    verdict = judge(figure, budget_ms, provenance, unsteady=total.unsteady)
    if measured.summed:
        verdict = _with(verdict, SUMMED)
    return Result(path, provenance, _warned(verdict, measured.device), measured, total, parts)


def _tool(
    path: Path, provenance: Provenance, run: ToolRun, budget_ms: float, statistic: str
) -> Result:
    """Inference alone; percentiles only where the tool lists its runs or gives them."""
    if run.parts is not None and isinstance(run.inference, Spread):
        verdict = judge_summed(*run.inference.bounds(statistic), budget_ms)
        return Result(
            path, provenance, _warned(verdict, run.device), tool=run, inference=run.inference
        )
    if isinstance(run.inference, Spread):
        inference: Summary | Spread = run.inference
        low, high = run.inference.bounds(statistic)
        unsteady = False  # a tool that lists no runs shows no drift
    else:
        inference = summarise(run.inference)
        low = high = float(getattr(inference, statistic))
        unsteady = inference.unsteady
    verdict = judge_inference(low, high, budget_ms, unsteady=unsteady)
    if run.difference is None:
        verdict = _with(verdict, "the tool hands no outputs out to compare")
    return Result(path, provenance, _warned(verdict, run.device), tool=run, inference=inference)


def _warned(verdict: Verdict, device: DeviceState | None) -> Verdict:
    if device is None or not device.throttled:
        return verdict
    return _with(verdict, "the device was throttled by heat")


def _with(verdict: Verdict, reason: str) -> Verdict:
    said = f"{verdict.reason}; {reason}" if verdict.reason else reason
    return replace(verdict, reason=said)


def profiled(result: Result, plan: Plan, tell: Callable[[str, str], None]) -> Result:
    """A result with its heaviest operators, from runs of their own on this machine."""
    if result.failure:
        return result
    job = {"artifact": str(result.path), "threads": plan.threads}
    try:
        told = run_job(operators, job, lambda text: tell(result.path.name, text))
    except JobError as error:
        return replace(result, failure=str(error), exit_code=error.exit_code)
    return replace(result, operators=Operators.from_dict(told))


def compare(artifacts: Sequence[Path], plan: Plan, tell: Callable[[str], None]) -> Comparison:
    """Run two artifacts turn about on this machine.

    Raises:
        JobError: one of them cannot run.
        UserError: too few runs for an interval.
    """
    first, second = artifacts
    job = {
        "artifacts": [str(first), str(second)],
        "threads": plan.threads,
        "warm_up": plan.warm_up,
        "runs": plan.runs,
    }
    times = np.array(run_job(measure_in_turn, job, tell)["times"])
    try:
        return Comparison(first, second, *paired_ratio(times[1], times[0]))
    except ValueError as error:
        raise UserError(str(error)) from error
