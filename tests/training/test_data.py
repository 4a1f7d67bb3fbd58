"""What training learns from: images nobody took, holes as papers draw them, repeatable samples."""

import builtins
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rethined_export.models.rethined.training.images import Folder, procedural_pool
from rethined_export.models.rethined.training.masks import (
    THIN,
    blobs,
    boxes,
    strokes,
    training_hole,
)
from rethined_export.models.rethined.training.procedural import scene
from rethined_export.models.rethined.training.procedural.night import night
from rethined_export.models.rethined.training.samples import Samples, collate
from rethined_export.models.rethined.training.settings import TrainingError


def save_noise(path: Path, height: int, width: int) -> None:
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def test_a_seed_gives_one_image() -> None:
    first, again, other = scene((0, 5), 128), scene((0, 5), 128), scene((0, 6), 128)
    assert first.shape == (128, 128, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_images_are_neither_flat_nor_white_noise() -> None:
    images = np.stack([scene((1, index), 128) for index in range(24)]).astype(np.float32) / 255
    assert images.std((1, 2)).mean() > 0.05
    steps = np.abs(np.diff(images, axis=2)).mean()
    far = np.abs(images[:, :, 32:] - images[:, :, :-32]).mean()
    assert steps < far / 2  # neighbours are alike, as in photographs


def test_nights_are_dark_with_lights() -> None:
    for seed in range(8):
        brightness = night(np.random.default_rng(seed), 512).max(axis=2)
        assert np.median(brightness) < 0.4
        assert brightness.max() > 4 * np.median(brightness)


def test_procedural_images_read_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training on them cannot have seen any photo."""

    def refuse(*arguments: object, **_: object) -> None:
        raise AssertionError(f"opened {arguments[0]}")

    monkeypatch.setattr(builtins, "open", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Image, "open", refuse)
    for index in range(20):
        scene((2, index), 64)


def test_a_pool_is_drawn_once(tmp_path: Path) -> None:
    told: list[int] = []
    pool = procedural_pool(tmp_path, 3, 2, 1, told.append)
    assert told == [1, 2]
    assert np.array_equal(pool.read(1), scene((3, 1), 512))
    assert not list(tmp_path.glob("*.tmp"))
    procedural_pool(tmp_path, 3, 2, 1, told.append)
    assert told == [1, 2]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([64, 128, 512]), st.floats(0.05, 0.5))
def test_holes_cover_what_was_asked(seed: int, side: int, cover: float) -> None:
    for draw in (strokes, boxes, blobs):
        hole = draw(np.random.default_rng(seed), side, cover)
        assert hole.shape == (side, side)
        assert set(np.unique(hole)) <= {0, 1}
        assert cover - 0.01 <= hole.mean() <= cover + 0.2


def test_thin_strokes_are_thinner() -> None:
    def border_share(widths: tuple[float, float]) -> float:
        hole = strokes(np.random.default_rng(0), 512, 0.3, widths)
        return float(np.abs(np.diff(hole.astype(int))).sum() / hole.sum())

    assert border_share(THIN) > 2 * border_share((0.04, 0.15))


def test_training_holes_leave_something_and_take_something() -> None:
    random = np.random.default_rng(0)
    covers = [training_hole(random, 64).mean() for _ in range(300)]
    assert min(covers) > 0.03
    assert max(covers) < 0.8
    assert 0.2 < np.mean(covers) < 0.4


def test_sample_n_is_the_same_in_every_run(tmp_path: Path) -> None:
    save_noise(tmp_path / "a.png", 200, 150)
    save_noise(tmp_path / "b.png", 90, 300)
    one, other = (Samples(Folder(tmp_path), 64, seed=7) for _ in range(2))
    other[0], other[1]  # what was read before does not matter
    assert torch.equal(one[5].image, other[5].image)
    assert torch.equal(one[5].mask, other[5].mask)
    assert not torch.equal(one[5].image, one[6].image)
    batch = collate([one[5], one[6]])
    assert batch.image.shape == (2, 3, 64, 64)
    assert batch.mask.shape == (2, 1, 64, 64)
    assert float(batch.image.max()) <= 1


def test_unusable_images_are_skipped_and_named(tmp_path: Path) -> None:
    save_noise(tmp_path / "good.png", 100, 100)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:500])
    save_noise(tmp_path / "small.png", 20, 400)
    samples = Samples(Folder(tmp_path), 64, seed=0)
    skipped = {name for index in range(30) for name in samples[index].skipped}
    for name in ("broken.jpg", "cut.png"):
        assert any(name in line for line in skipped)
    assert any("small.png (400×20, under 64)" in line for line in skipped)
    assert not any("good.png" in line for line in skipped)


def test_a_folder_of_unusable_images_ends_the_run(tmp_path: Path) -> None:
    save_noise(tmp_path / "small.png", 20, 20)
    with pytest.raises(TrainingError, match=r"20 images in a row.*small\.png"):
        Samples(Folder(tmp_path), 64, seed=0)[0]


def test_no_image_no_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no image"):
        Folder(tmp_path)
    with pytest.raises(TrainingError, match="not a folder"):
        Folder(tmp_path / "absent")
