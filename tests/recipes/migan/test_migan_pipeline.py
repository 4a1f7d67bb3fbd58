"""MI-GAN's way around a hole against what the published pipeline gave, and our own manner of it."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rethined_export.models.migan import (
    PRESETS,
    STAND_IN_GAIN,
    MiGan,
    fixed_keys,
    native_input,
)
from rethined_export.models.seeded import seed_weights
from rethined_export.recipes.migan.pipeline import (
    ORIGINAL,
    OURS,
    Manner,
    fill,
    hole_box,
    native_network,
    packed,
    photo_weight,
)
from tests.migan_scenes import pattern

GOLDEN = Path(__file__).parents[2] / "golden"


@cache
def golden(preset: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The cases, and arrays of those that were run."""
    with np.load(GOLDEN / f"migan-{preset}-pipeline.npz") as stored:
        return json.loads(str(stored["cases"])), dict(stored)


def hole_of(case: dict[str, Any]) -> np.ndarray:
    hole = np.zeros(case["size"], bool)
    for top, left, height, width in case["holes"]:
        hole[top : top + height, left : left + width] = True
    return hole


CASES = [
    (preset, name)
    for preset in PRESETS
    for name, case in golden(preset)[0].items()
    if case["holes"]
]
RUN = [(preset, name) for preset, name in CASES if "changed" in golden(preset)[0][name]]
#: Cut off at a border, and resized to the network's side and back.
QUICK = [("256", "corner"), ("256", "odd_crop")]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the published numbers were made: the order of sums decides what truncation does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("preset,name", CASES)
def test_box_is_the_published_one(preset, name):
    case = golden(preset)[0][name]
    rows, columns = hole_box(hole_of(case), int(preset))
    assert [columns.start, columns.stop, rows.start, rows.stop] == case["box"]


@pytest.mark.parametrize(
    "preset,name",
    [case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in RUN],
)
def test_result_is_the_published_one(preset, name):
    """Byte for byte but for the network's own rounding, 1e-6 of its range.

    Where that crosses a whole number truncation makes it one step; hence the few allowed.
    """
    cases, stored = golden(preset)
    case = cases[name]
    hole, photo = hole_of(case), pattern(*case["size"], 11, case["crc"])
    model = MiGan(PRESETS[preset]).eval().requires_grad_(False)
    seed_weights(model, STAND_IN_GAIN[preset], fixed_keys(model))
    seen = []

    def run(x: np.ndarray) -> np.ndarray:
        seen.append(x)
        return model(torch.from_numpy(x)).numpy()

    made = fill(native_network(run), photo, hole, int(preset), ORIGINAL)
    stride = int(preset) // 64
    assert np.array_equal(seen[0][0, :, ::stride, ::stride], stored[f"{name}/input"])
    top, bottom, left, right = case["changed"]
    changed = (slice(top, bottom + 1), slice(left, right + 1))
    apart = np.abs(made[changed].astype(int) - stored[f"{name}/changed"])
    assert apart.max() <= 1 and (apart > 0).sum() <= 5
    made[changed] = photo[changed]
    assert np.array_equal(made, photo)


@pytest.mark.parametrize("preset,name", RUN)
def test_weight_is_the_published_one(preset, name):
    cases, stored = golden(preset)
    hole = hole_of(cases[name])
    hidden = torch.from_numpy(hole[hole_box(hole, int(preset))].astype(np.float32))
    # A sum of 25 products that make 1 at most.
    weight = photo_weight(hidden[None, None])[0, 0, :64, :96].numpy()
    assert np.abs(weight - stored[f"{name}/weight"]).max() <= 25 * 2.0**-24


# --- Our manner -----------------------------------------------------------------------------------


def red(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A network that paints the whole square (0.8, 0.2, 0.4)."""
    return np.broadcast_to(np.float32([0.8, 0.2, 0.4])[None, :, None, None], image.shape).copy()


def scene(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, and holes down to single pixels."""
    rng = np.random.default_rng(seed)
    hole = rng.random((height, width)) < 0.01
    top, left = rng.integers(height), rng.integers(width)
    hole[top : top + height // 3, left : left + width // 4] = True
    return rng.integers(0, 256, (height, width, 3), np.uint8), hole


@settings(deadline=None, max_examples=25)
@given(height=st.integers(4, 90), width=st.integers(4, 90), seed=st.integers(0, 2**31))
def test_known_pixels_stay_and_the_whole_hole_is_painted(height, width, seed):
    photo, hole = scene(height, width, seed)
    made = fill(red, photo, hole, 32)
    assert np.array_equal(made[~hole], photo[~hole])
    assert (made[hole] == np.rint(255 * np.float32([0.8, 0.2, 0.4]))).all()


@settings(deadline=None, max_examples=25)
@given(height=st.integers(4, 400), width=st.integers(4, 400), seed=st.integers(0, 2**31))
def test_the_network_sees_nothing_that_the_hole_hides(height, width, seed):
    photo, hole = scene(height, width, seed)
    seen = []

    def watch(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        seen.append(image * (1 - mask))
        return red(image, mask)

    fill(watch, photo, hole, 32)
    fill(watch, np.where(hole[..., None], 255 - photo, photo), hole, 32)
    assert len(seen) == 2 * hole.any()
    assert not seen or np.array_equal(*seen)


def test_no_hole_is_too_thin_for_the_network():
    """One pixel in 257, on its way to 32, wherever it lies between the pixels that are sampled."""
    photo = np.zeros((400, 400, 3), np.uint8)
    seen = []

    def watch(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        seen.append(mask.any())
        return red(image, mask)

    for place in range(196, 205):
        hole = np.zeros((400, 400), bool)
        hole[place, 200] = True
        fill(watch, photo, hole, 32)
    assert all(seen)


def test_the_published_mask_lets_hidden_pixels_through():
    photo, hole = scene(390, 300, 1)
    thin = Manner(thin_mask=True)
    seen = []

    def watch(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        seen.append(image * (1 - mask))
        return red(image, mask)

    fill(watch, photo, hole, 32, thin)
    fill(watch, np.where(hole[..., None], 255 - photo, photo), hole, 32, thin)
    assert not np.array_equal(*seen)


def test_feathering_loses_holes_one_pixel_wide_and_changes_pixels_beside_others():
    photo = np.full((64, 64, 3), 100, np.uint8)
    hole = np.zeros((64, 64), bool)
    hole[10] = True
    assert np.array_equal(fill(red, photo, hole, 32, ORIGINAL), photo)
    hole[30:40, 30:40] = True
    made = fill(red, photo, hole, 32, ORIGINAL)
    beside = np.zeros_like(hole)
    beside[29:41, 29:41] = True
    assert (made[beside & ~hole] != 100).any()
    assert (made[~beside] == 100).all()


@pytest.mark.parametrize("kind,full", [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_numbers_of_any_kind_are_filled(kind, full):
    photo = (np.random.default_rng(0).random((70, 50, 3)) * full).astype(kind)
    hole = np.zeros((70, 50), bool)
    hole[20:40, 10:30] = True
    made = fill(red, photo, hole, 32)
    assert made.dtype == kind
    assert np.array_equal(made[~hole], photo[~hole])
    wanted = full * np.float32([0.8, 0.2, 0.4])
    assert np.abs(made[hole] - wanted).max() <= (0.5 if full > 1 else 1e-6)


def test_without_a_hole_the_photo_comes_back():
    photo, hole = scene(20, 30, 0)
    assert np.array_equal(fill(red, photo, hole & False, 32, OURS), photo)


def test_packed_input_is_the_networks():
    rng = np.random.default_rng(0)
    image = rng.random((1, 3, 8, 8), np.float32)
    mask = (rng.random((1, 1, 8, 8)) < 0.5).astype(np.float32)
    wanted = native_input(torch.from_numpy(image), torch.from_numpy(mask))
    assert np.array_equal(packed(image, mask), wanted.numpy())
