"""A phone or a Linux board over adb: its own wall times.

A board runs Python and times whole fills, as this machine does. A phone has no Python: LiteRT's and
ONNX Runtime's own tools time inference alone there.
"""

import json
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from rethined_export.benchmarks import adb, timing
from rethined_export.benchmarks.adb import tools
from rethined_export.benchmarks.adb.client import Device, find
from rethined_export.benchmarks.adb.job import run_here
from rethined_export.benchmarks.adb.lease import leased
from rethined_export.benchmarks.adb.state import DeviceState, cores, moment
from rethined_export.benchmarks.profiles import Profile
from rethined_export.benchmarks.runners.apart import joined, read_filled, read_timer
from rethined_export.benchmarks.runners.types import Measured, Plan, ToolRun
from rethined_export.benchmarks.sample import difference, sample
from rethined_export.benchmarks.subjects import noise_photo
from rethined_export.benchmarks.verdict import Provenance
from rethined_export.converters import target_of
from rethined_export.errors import UnavailableError
from rethined_export.jobs.parent import JobError, run_job
from rethined_export.photo.window import Window

GUEST = Path(adb.__file__).with_name("guest.py")
#: What a board's Python must have, by target.
_MODULES = {"onnx": "numpy, onnxruntime", "tflite": "numpy, ai_edge_litert"}
#: A small board takes its time to load a runtime.
_PATIENCE_S = 120.0
#: Runs of a timer that do not count, where the user asks for no number of them.
_WARM_UP = 5


class AdbRunner:
    """Runs artifacts on the attached device of a profile, one after the other."""

    provenance: Provenance = "on-device"

    def __init__(self, profile: Profile) -> None:
        self._model = profile.model

    @staticmethod
    def unreachable(profile: Profile) -> str:
        """Why the device cannot be measured now; empty if it can."""
        try:
            find(profile.model)
        except UnavailableError as error:
            return str(error)
        return ""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._device = stack.enter_context(leased(self._model))
            self._cores, self._governors = cores(self._device)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.close()

    def run(self, artifact: Path, plan: Plan, tell: Callable[[str], None]) -> Measured | ToolRun:
        """Run an artifact here, then time it on the device, and compare where outputs can be had.

        A pair's programs are timed by themselves, and what librethined does by a program of its
        own, which needs nothing on the device.

        Raises:
            UserError: not the first of several programs, or no space on the device.
            UnavailableError: the device went away, or nothing can run the artifact on it.
            JobError: the artifact cannot be run, or takes too long.
        """
        target = target_of(artifact)
        tool = self._tool(target, plan)
        with tempfile.TemporaryDirectory(prefix="rethined-") as name:
            folder = Path(name)
            told = run_job(sample, {"artifact": str(artifact), "folder": name}, tell)
            tell("running on the device")
            before = moment(self._device)
            if "parts" in told:
                made = self._run_apart(told, tool, target, plan, folder)
            else:
                made = self._run_program(artifact, tool, target, plan, folder)
            after = moment(self._device)
        return replace(made, device=DeviceState(self._cores, self._governors, before, after))

    def _run_program(
        self, artifact: Path, tool: Path | None, target: str, plan: Plan, folder: Path
    ) -> Measured | ToolRun:
        """Time one program on the inputs in a folder."""
        self._device.empty()
        if tool is None:
            return _run_python(self._device, artifact, target, plan, folder)
        run = tools.run_litert if target == "tflite" else tools.run_onnx
        return run(self._device, tool, artifact, plan, folder)

    def _run_apart(
        self, told: dict[str, Any], tool: Path | None, target: str, plan: Plan, folder: Path
    ) -> Measured | ToolRun:
        """Time each of several programs, then what runs beside them, and join them to a fill."""
        made = {
            name: self._run_program(Path(part["path"]), tool, target, plan, folder / name)
            for name, part in told["parts"].items()
        }
        machine = self._device.shell("uname", "-m").out.strip()
        if machine not in told["timers"]:
            raise UnavailableError(
                f"{self._device.serial} is {machine}; pairs are timed on "
                f"{' and '.join(sorted(told['timers']))}"
            )
        timer = Path(told["timers"][machine])
        warm_up = _WARM_UP if plan.warm_up is None else plan.warm_up
        runs = timing.RUNS if plan.runs is None else plan.runs
        self._run_timer(timer, folder / "photo", told["settings"]["photo"], plan.threads, 0, 1)
        self._device.pull("filled.raw", folder / "filled.raw")
        difference = read_filled(folder / "filled.raw", folder / "photo")
        noise = folder / "noise", told["settings"]["noise"]
        said = self._run_timer(timer, *noise, plan.threads, warm_up, runs)
        counts = {name: part["runs"] for name, part in told["parts"].items()}
        return joined(made, counts, *read_timer(said, runs), difference)

    def _run_timer(
        self, timer: Path, place: Path, settings: list[str], threads: int, warm_up: int, runs: int
    ) -> str:
        """What the timer prints of the files in a folder."""
        self._device.empty()
        for file in place.glob("*.raw"):
            self._device.push(file, file.name)
        command = [self._device.push(timer, "rethined-time"), *settings]
        return run_here(self._device, [*command, str(threads), str(warm_up), str(runs)]).out

    def _tool(self, target: str, plan: Plan) -> Path | None:
        """The user's tool, or None where Python does; one that is only kept comes after Python."""
        if tool := tools.chosen(target, plan.tools):
            return tool
        modules = f"import {_MODULES[target]}"
        done = self._device.shell("python3", "-c", modules, limit_s=_PATIENCE_S)
        if done.code == 0:
            return None
        if tool := tools.kept(target):
            return tool
        raise UnavailableError(
            f"nothing on {self._device.serial} runs {target}: give --tool PATH, a build of "
            f"{tools.NAMES[target]} for it (or keep one at {tools.kept_at(target)}), or install "
            f"{_MODULES[target]} for its python3"
        )


def _run_python(device: Device, artifact: Path, target: str, plan: Plan, folder: Path) -> Measured:
    """Time whole fills, or one of several programs, by the board's own Python."""
    with np.load(folder / "own.npz") as own, np.load(folder / "inputs.npz") as inputs:
        window = Window(*inputs["mask"].squeeze().shape) if "output" in own else None
    if window is not None:
        photo, hole = noise_photo(window)
        np.savez(folder / "photo.npz", photo=photo, hole=hole)
        device.push(folder / "photo.npz", "photo.npz")
    device.push(folder / "inputs.npz", "inputs.npz")
    device.push(Path(timing.__file__), "timing.py")
    guest = device.push(GUEST, "guest.py")
    there = device.push(artifact, f"artifact.{target}")
    counts = ("-" if count is None else str(count) for count in (plan.warm_up, plan.runs))
    run_here(device, ["python3", guest, there, target, str(plan.threads), *counts])
    for name in ("result.json", "outputs.npz"):
        device.pull(name, folder / name)
    return _read(folder)


def _read(folder: Path) -> Measured:
    """What the guest program left.

    Raises:
        JobError: not what it writes.
    """
    try:
        told = json.loads((folder / "result.json").read_text())
        made = Measured.of(told, told["runtime"], difference(folder))
        sound = len(made.total) > 0 and bool(np.all(made.total > 0))
    except (ValueError, KeyError, TypeError) as error:
        raise JobError("the run left a result that cannot be read", 1) from error
    if not sound:
        raise JobError("the run left times that make no sense", 1)
    return made
