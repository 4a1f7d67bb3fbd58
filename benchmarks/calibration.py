"""How long a device takes for an emulated instruction, learnt from graphs that ran on both.

The emulator counts instructions; what one takes depends on the device and on the runtime, and less
on the graph. Graphs timed on the device and counted in the emulator give a band of rates, which
turns the count of another graph into a band of milliseconds.
"""

import json
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rethined_export.benchmarks.arm64.system import CORE
from rethined_export.benchmarks.profiles import Profile
from rethined_export.benchmarks.runners import runner
from rethined_export.benchmarks.runners.arm64 import Arm64Runner
from rethined_export.benchmarks.runners.types import (
    SAME,
    Counted,
    Measured,
    Plan,
    Spread,
    ToolRun,
)
from rethined_export.benchmarks.subjects import RUNTIMES
from rethined_export.converters import target_of
from rethined_export.errors import UnavailableError, UserError
from rethined_export.jobs.parent import JobError

SCHEMA = 1
#: Graphs of a runtime that make a band; two leave it wider than no calibration does.
LEAST = 3
#: Student's t that 80 % of a distribution lie within, by the number of graphs from ``LEAST`` on.
_T_80 = (1.886, 1.638, 1.533, 1.476, 1.440, 1.415, 1.397, 1.383, 1.372)
_PACKAGES = {"onnx": "onnxruntime", "tflite": "ai-edge-litert"}


@dataclass(frozen=True)
class Point:
    """One graph.

    Attributes:
        instructions: of one emulated run. ms: median of one run on the device, one thread.
    """

    artifact: str
    instructions: int
    ms: float

    @property
    def rate(self) -> float:
        """Milliseconds for 10⁹ instructions."""
        return 1e9 * self.ms / self.instructions


@dataclass(frozen=True)
class Rates:
    """What the graphs of one runtime say.

    Attributes:
        target: whose artifacts these are. version: of the runtime.
        points: at least ``LEAST``.
    """

    target: str
    version: str
    points: tuple[Point, ...]

    @property
    def rates(self) -> list[float]:
        """Of each graph, in milliseconds for 10⁹ instructions."""
        return [point.rate for point in self.points]

    def band(self, instructions: int) -> tuple[float, float]:
        """Milliseconds between which four of five further graphs like these are expected.

        A prediction interval for the logarithm of the rate, by Student's t; where the graphs
        themselves spread wider, their fastest and slowest.
        """
        logs = [math.log(rate) for rate in self.rates]
        count = len(logs)
        t = _T_80[min(count - LEAST, len(_T_80) - 1)]
        reach = t * statistics.stdev(logs) * math.sqrt(1 + 1 / count)
        middle = statistics.fmean(logs)
        low = min(math.exp(middle - reach), *self.rates)
        high = max(math.exp(middle + reach), *self.rates)
        return low * instructions / 1e9, high * instructions / 1e9

    def likely(self, instructions: int) -> float:
        """Milliseconds at the median rate."""
        return statistics.median(self.rates) * instructions / 1e9


@dataclass(frozen=True)
class Calibration:
    """One device.

    Attributes:
        device: id of its profile. name: as the profile says it. made: date.
        ghz: highest clock of its strongest core, where known.
        core: the emulated one, whose instructions were counted.
        rates: by target.
    """

    device: str
    name: str
    made: str
    ghz: float | None
    core: str
    rates: dict[str, Rates]

    def band(self, target: str, instructions: int) -> tuple[float, float]:
        """Fast and slow, in milliseconds."""
        return self.rates[target].band(instructions)

    def estimate(self, target: str, instructions: int) -> str:
        """The band, with what it assumes."""
        rates = self.rates[target]
        fast, slow = self.band(target, instructions)
        return (
            f"estimate {fast:.0f}–{slow:.0f} ms: {instructions / 1e9:.2f} G instructions on one "
            f"thread of {self.name}, where {len(rates.points)} graphs in {RUNTIMES[target]} took "
            f"{min(rates.rates):.1f} to {max(rates.rates):.1f} ms a G (calibrated {self.made}); "
            "4 of 5 graphs like them are expected in the band"
        )

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2) + "\n"


def calibrate(
    profile: Profile, artifacts: Sequence[Path], plan: Plan, tell: Callable[[str, str], None]
) -> Calibration:
    """Time artifacts on a device, with one thread, and count their instructions in the emulator.

    Args:
        profile: of a device whose wall times can be had.
        artifacts: at least ``LEAST`` of each runtime they are for.
        tell: called with an artifact's name and its stage.

    Raises:
        UserError: too few artifacts of a runtime.
        UnavailableError: the emulator is not built.
        JobError: an artifact cannot be run.
    """
    _check_enough(artifacts)
    if reason := Arm64Runner.unreachable(profile):
        raise UnavailableError(f"--calibrate counts instructions in the arm64 emulator: {reason}")
    points: dict[str, list[Point]] = {}
    plan = replace(plan, threads=1)
    with runner(profile) as device, Arm64Runner(profile) as emulator:
        for path in artifacts:

            def stage(text: str, name: str = path.name) -> None:
                tell(name, text)

            measured, counted = device.run(path, plan, stage), emulator.run(path, plan, stage)
            assert not isinstance(measured, Counted)
            for made in (measured, counted):
                if made.difference is not None and not made.difference <= SAME:
                    raise JobError(f"{path}: its output in {made.runtime} is wrong", 3)
            point = Point(path.name, counted.instructions, _typical(measured))
            points.setdefault(target_of(path), []).append(point)
    return Calibration(
        profile.id,
        profile.name,
        date.today().isoformat(),
        profile.cores[0].ghz if profile.cores else None,
        CORE,
        {t: Rates(t, version(_PACKAGES[t]), tuple(some)) for t, some in points.items()},
    )


def _typical(measured: Measured | ToolRun) -> float:
    """Median milliseconds of an inference; their mean where a tool tells no more."""
    times = measured.inference
    if isinstance(times, Spread):
        return times.mean if times.p50 is None else times.p50
    return float(statistics.median(times))


def _check_enough(artifacts: Iterable[Path]) -> None:
    """Refuse to make a band of too few graphs."""
    targets = [target_of(path) for path in artifacts]
    for target in sorted(set(targets)):
        if targets.count(target) < LEAST:
            raise UserError(
                f"--calibrate got {targets.count(target)} for {RUNTIMES[target]}; give {LEAST} or "
                "more, like those to be estimated"
            )


def read_calibration(path: Path) -> Calibration:
    """Read what ``--calibrate`` wrote.

    Raises:
        UserError: unreadable, not such a file, or one whose figures cannot be.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told.pop("schema") != SCHEMA:
            raise UserError(f"{path} is of another schema than {SCHEMA}; calibrate again")
        rates = {target: _rates(entry) for target, entry in told.pop("rates").items()}
        made = Calibration(**told, rates=rates)
    except OSError as error:
        raise UserError(f"cannot read calibration {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a file that --calibrate writes, or damaged") from error
    return made


def _rates(entry: dict[str, Any]) -> Rates:
    points = tuple(Point(p["artifact"], int(p["instructions"]), float(p["ms"]))
                   for p in entry["points"])  # fmt: skip
    if len(points) < LEAST or not all(p.instructions > 0 and 0 < p.ms < 1e9 for p in points):
        raise ValueError
    return Rates(str(entry["target"]), str(entry["version"]), points)


def usable(calibration: Calibration, path: Path, profile: Profile, targets: Iterable[str]) -> None:
    """Refuse a calibration that says nothing of the device, or of an artifact's runtime.

    The plain emulator stands for no device, so any calibration may be applied to it.

    Args:
        path: the calibration's, for the message.
        targets: of the artifacts.

    Raises:
        UserError: another device, a runtime it does not hold, or another release of it.
    """
    if profile.kind != "arm64-emulator" and calibration.device != profile.id:
        raise UserError(f"{path} is of {calibration.device}, not of {profile.id}; calibrate that")
    for target in sorted(set(targets)):
        name = RUNTIMES[target]
        if target not in calibration.rates:
            raise UserError(f"{path} has no rates of {name}; calibrate with artifacts for it")
        then, now = calibration.rates[target].version, version(_PACKAGES[target])
        if then != now:
            raise UserError(f"{path} is of {name} {then}, and {now} is installed; calibrate again")
