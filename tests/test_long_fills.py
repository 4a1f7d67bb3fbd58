"""Fills that run a network many times: how far they are is told, and they are given time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rethined_export import inpaint
from rethined_export.converters.types import Array
from rethined_export.deployed import Deployed
from rethined_export.jobs.parent import TIME_LIMIT_S
from rethined_export.models.repaint import INPUTS
from rethined_export.recipes.repaint.options import RepaintOptions
from rethined_export.spec import ExportSpec

OPTIONS = RepaintOptions(preset="tiny", steps=20, jumps="5x2")


class Still:
    """A step that changes nothing, in a minute."""

    name, takes = "still", frozenset(INPUTS)

    def __init__(self, pass_time: Callable[[float], None]) -> None:
        self._pass_time = pass_time

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        self._pass_time(60.0)
        return {"output": inputs["x"], "guess": inputs["x"]}


def test_how_long_it_still_takes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now, told = [0.0], []
    monkeypatch.setattr(inpaint.time, "monotonic", lambda: now[0])

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    made = Deployed(ExportSpec("repaint", "onnx", OPTIONS), {"whole": Still(pass_time)}, 1)
    runner = inpaint._telling(made, told.append).runner
    runner(image=np.zeros((1, 3, 32, 32), np.float32), mask=np.ones((1, 1, 32, 32), np.float32))
    assert told[0] == "inpainting, run 1 of 35, 34 minutes left"
    assert told[-1] == "inpainting, run 34 of 35, 1 minutes left"


def test_time_is_given_by_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []

    def run_job(job: Any, arguments: dict[str, Any], on_stage: Any, time_limit_s: float) -> Any:
        limits.append(time_limit_s)
        folder = Path(arguments["folder"])
        np.save(folder / "output.npy", np.load(folder / "image.npy"))

    monkeypatch.setattr(inpaint, "run_job", run_job)
    image = np.zeros((1, 3, 8, 8), np.float32)
    for runs in (1, 2410):
        inpaint.filler(Path("a.onnx"), lambda _: None, runs)(image, image[:, :1])
    assert limits == [TIME_LIMIT_S, 2410 * 120.0]
