"""Rounded weights in the saved file of every target: 8 bits hold them as they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rethined_export.converters import TARGETS, converter
from rethined_export.converters.types import Array
from rethined_export.export import convert
from rethined_export.photo.calibration import Calibration
from rethined_export.recipes.module import ModuleOptions
from rethined_export.reduction.reduce import reduce
from rethined_export.spec import ExportSpec
from tests import small_net
from tests.here import run_job

SIDE = small_net.SIDE


class Made:
    """Artifacts of one network in a target."""

    def __init__(self, target: str, folder: Path) -> None:
        inputs = (f"image=1x3x{SIDE}x{SIDE}", f"mask=1x1x{SIDE}x{SIDE}")
        options = ModuleOptions(module=f"{small_net.__file__}:build", input=inputs)
        self._spec = ExportSpec("module", target, options)
        self._folder = folder
        random = np.random.default_rng(7)
        mask = np.zeros((1, 1, SIDE, SIDE), np.float32)
        mask[..., 5:25, 8:28] = 1
        image = random.random((1, 3, SIDE, SIDE), np.float32)
        self._inputs: dict[str, Array] = {"image": image, "mask": mask}

    def exact(self, rounded: bool) -> Path:
        spec = self._spec
        if rounded:
            spec = replace(spec, precision="int8-weights", calibration=Calibration())
        return self._run(convert, spec, f"exact-{rounded}")

    def reduced(self, precision: str, source: Path) -> Path:
        spec = replace(self._spec, precision=precision)
        return self._run(reduce, spec, f"{precision}-of-{source.stem}", source=str(source))

    def _run(self, job: object, spec: ExportSpec, name: str, **more: str) -> Path:
        path = self._folder / f"{name}{TARGETS[spec.target].suffix}"
        given = {"spec": spec.to_dict(), "path": str(path), "threads": 1, **more}
        run_job(job, given, lambda stage: None)  # type: ignore[arg-type]
        return path

    def image(self, path: Path) -> Array:
        with converter(self._spec.target).load(path, 1) as runtime:
            return next(iter(runtime(**self._inputs).values()))


@pytest.mark.conversion
@pytest.mark.parametrize(("target", "share"), [("onnx", 0.001), ("tflite", 0.001), ("coreml", 0.1)])
def test_quantisers_lose_next_to_nothing(target: str, share: float, tmp_path: Path) -> None:
    """Of the squared error of weights as they were: rounding of floats, or of Core ML's halves."""
    made = Made(target, tmp_path)
    lost = []
    for rounded in (True, False):
        exact = made.exact(rounded)
        like = made.reduced("fp16", exact) if target == "coreml" else exact
        apart = made.image(made.reduced("int8-weights", exact)) - made.image(like)
        lost.append(float(np.square(apart).mean()))
    assert lost[1] > 1e-7
    assert lost[0] < share * lost[1]
