"""Rounded weights in the saved file of every target: it holds them as they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rethined_export.converters import TARGETS, converter, reducers
from rethined_export.converters.types import Array
from rethined_export.export import convert
from rethined_export.photo.calibration import Calibration
from rethined_export.recipes.module import ModuleOptions
from rethined_export.reduction import rounding
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

    def exact(self, precision: str | None) -> Path:
        """In fp32; its weights rounded for a precision."""
        spec = self._spec
        if precision is not None:
            spec = replace(spec, precision=precision, calibration=Calibration())
        return self._run(convert, spec, f"exact-{precision}")

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


def lost(made: Made, precision: str, rounded: bool, like: str | None) -> float:
    """Mean squared error that storing the weights adds, beside what is stored as it is."""
    exact = made.exact(precision if rounded else None)
    beside = exact if like is None else made.reduced(like, exact)
    apart = made.image(made.reduced(precision, exact)) - made.image(beside)
    return float(np.square(apart).mean())


@pytest.mark.conversion
@pytest.mark.parametrize(
    ("target", "precision", "share"),
    [
        ("onnx", "int8-weights", 0.001),
        ("tflite", "int8-weights", 0.001),
        ("coreml", "int8-weights", 0.1),
        ("coreml", "palette4", 0.001),
    ],
)
def test_quantisers_lose_next_to_nothing(
    target: str, precision: str, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the squared error of weights as they were: rounding of floats, or of Core ML's halves."""
    if precision == "palette4":  # which layers as small as the network's do not take
        for module in (rounding, reducers(target)):
            monkeypatch.setattr(module, "FEW_WEIGHTS", 0)
    made, like = Made(target, tmp_path), "fp16" if target == "coreml" else None
    before = lost(made, precision, rounded=False, like=like)
    assert before > 1e-7
    assert lost(made, precision, rounded=True, like=like) < share * before
