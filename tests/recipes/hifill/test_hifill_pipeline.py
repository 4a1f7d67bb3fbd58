"""Two published programs around HiFill's network, step by step, against what they gave.

The golden file holds what github.com/duxingren14/Hifill-tensorflow at a48a663b5cdd gave for a whole
photo with seeded weights, and github.com/Atlas200dk/sample-imageinpainting-HiFill at 0ab5a724d877
for a picture in the network's place and an attention of three cells each.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rethined_export.models.hifill import PRESETS, HiFill, enlarged, seed_stand_in
from rethined_export.recipes.hifill import pipeline
from tests.models.test_hifill import TOLERANCE
from tests.wavy_scenes import wavy

GOLDEN = Path(__file__).parents[2] / "golden" / "hifill.npz"


@cache
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as stored:
        return dict(stored)


def scene(case: str) -> tuple[np.ndarray, np.ndarray]:
    """Photo ``[H, W, 3]`` and hole ``[H, W]``."""
    seed, crc = (int(golden()[f"{case}/{name}"]) for name in ("seed", "crc"))
    height, width = map(int, golden()[f"{case}/size"])
    hole = np.unpackbits(golden()[f"{case}/hole"])[: height * width].reshape(height, width) > 0
    return wavy(height, width, seed, crc).transpose(1, 2, 0), hole


def assert_filled(case: str, filled: np.ndarray, few: float) -> None:
    """Byte for byte, but for a share of values that are one level apart."""
    apart = np.abs(filled[::5, ::5].astype(int) - golden()[f"{case}/filled"].astype(int))
    assert apart.max() <= 1
    assert (apart > 0).mean() <= few


def test_the_authors_program():
    """But where the network's own rounding crosses a whole number: 3 of 540000 values."""
    model, raws = HiFill(PRESETS["places2"]).eval().requires_grad_(False), []
    seed_stand_in(model)
    photo, hole = scene("authors")

    def network(x: Tensor) -> tuple[Tensor, Tensor]:
        raws.append(model(x))
        return raws[0]

    filled = pipeline.authors(network, photo, hole, 2)
    least, most, *_ = golden()["authors/raw/facts"]
    step = 2 * int(golden()["authors/raw/step"])
    raw = raws[0][0][0, :, ::step, ::step].numpy()
    assert np.abs(raw - golden()["authors/raw"]).max() <= TOLERANCE * (most - least)
    assert_filled("authors", filled, few=1e-4)


@pytest.mark.parametrize("by", [1, 2])
def test_the_boards_program(by, monkeypatch):
    """To the letter; at 512 whole levels are made of whole levels, and 72 of 864000 fall below."""
    case, residuals = f"atlas{by}", []
    picture = wavy(512, 512, int(golden()[f"{case}/painted_seed"]),
                   int(golden()[f"{case}/painted_crc"]))  # fmt: skip
    painted = torch.from_numpy(picture[::-1].astype(np.float32))[None] / 127.5 - 1
    weights = torch.zeros(1, 1024, 1024)
    if by == 2:
        taken = torch.from_numpy(golden()["atlas2/taken"].astype(np.int64))
        weights[0].scatter_add_(1, taken, torch.from_numpy(golden()["atlas2/shares"]))

    def aggregated(*inputs: object) -> Tensor:
        residuals.append(mixed(*inputs))
        return residuals[0]

    mixed = pipeline.aggregated
    monkeypatch.setattr(pipeline, "aggregated", aggregated)
    filled = pipeline.atlas(lambda _: (painted, weights), *scene(case), by)
    assert_filled(case, filled, few=2e-4 if by == 1 else 0)
    if by == 2:
        apart = residuals[0][0, :, ::32, ::32].numpy() - golden()["atlas2/residual"]
        assert np.abs(apart).max() <= TOLERANCE * 255


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    by=st.sampled_from([1, 2, 3, 4, 8]),
    seed=st.integers(0, 2**31),
)
def test_enlargement_by_a_whole_number_is_one_of_any(height, width, by, seed):
    """Positions of up to 9 pixels, off by two roundings of 9, times differences of up to 1."""
    x = torch.rand(1, 2, height, width, generator=torch.Generator().manual_seed(seed))
    expected = pipeline.resized(x, by * height, by * width)
    assert (enlarged(x, by) - expected).abs().max() <= 36 * torch.finfo(torch.float32).eps
