"""The authors' program on 8 bits, step by step, against what it gave."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from rethined_export.recipes.twostage import RECIPE
from rethined_export.recipes.twostage.options import TwoStageOptions
from rethined_export.recipes.types import Running, TorchRunner
from rethined_export.spec import ExportSpec, load_reference
from tests.waves import waves

GOLDEN = Path(__file__).parents[2] / "golden" / "two-stage.npz"
SIZES = ("256x256", "768x512")


@cache
def networks() -> torch.nn.Module:
    return load_reference(ExportSpec("two-stage", "onnx", TwoStageOptions(), untrained=True)).model


@pytest.mark.parametrize("case", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_result_is_the_originals(case):
    """Byte for byte, but where the networks' own rounding, 1e-6, crosses a whole number."""
    with np.load(GOLDEN) as stored:
        golden = {k.removeprefix(f"{case}/"): v for k, v in stored.items() if k[0] == str(case)}
    height, width = map(int, golden["size"])
    photo = waves(height, width, int(golden["seed"]), int(golden["crc"])).transpose(1, 2, 0)
    hole = np.unpackbits(golden["hole"])[: height * width].reshape(height, width) > 0
    options = TwoStageOptions(size=SIZES[case], io="native")
    seen: dict[str, np.ndarray] = {}

    class Seen(TorchRunner):
        """Remembers what it was given, in 8-bit levels."""

        def __init__(self, part: str) -> None:
            super().__init__(RECIPE.program(options, networks(), part))
            self.part = part

        def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
            seen[self.part] = np.rint(inputs["input"] * 255)
            return super().__call__(**inputs)

    programs = {part: Seen(part) for part in RECIPE.parts(options)}
    made = Running(options, programs, RECIPE.caller(options, programs))
    filled = RECIPE.pipelines()["two-stage-original"](made, photo, hole)
    step = int(golden["stacked_step"])
    stacked = seen["refine"][0, 1:, ::step, ::step]
    few = 1e-3 * stacked.size
    assert_levels(stacked, golden["stacked"], few)
    step = (3, 5)[case]
    assert_levels(filled[::step, ::step], golden["final"], 1e-3 * golden["final"].size)
    assert np.array_equal(filled[~hole], photo[~hole])


def assert_levels(made: np.ndarray, wanted: np.ndarray, few: float) -> None:
    """Equal but for a few that are one level apart."""
    apart = np.abs(made.astype(int) - wanted.astype(int))
    assert apart.max() <= 1
    assert (apart > 0).sum() <= few
