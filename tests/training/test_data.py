"""What training learns from: images nobody took, holes as papers draw them, repeatable samples."""

import builtins
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from rethined_export.models.rethined.training.images import Folder, Mixture, procedural_pool
from rethined_export.models.rethined.training.masks import (
    THIN,
    across_edges,
    blobs,
    boxes,
    objects,
    strokes,
    training_hole,
)
from rethined_export.models.rethined.training.procedural import scene
from rethined_export.models.rethined.training.procedural.night import night
from rethined_export.models.rethined.training.samples import Samples, collate, recoloured
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
@example(6207, 64, 0.375)  # a box that lies beyond the upper border altogether
def test_holes_cover_what_was_asked(seed: int, side: int, cover: float) -> None:
    for draw in (strokes, boxes, blobs, objects):
        hole = draw(np.random.default_rng(seed), side, cover)
        assert hole.shape == (side, side)
        assert set(np.unique(hole)) <= {0, 1}
        # The last shape may add all of itself: a box 0.16, an object 0.13, and more with its lobes.
        assert cover - 0.01 <= hole.mean() <= cover + 0.2


def test_thin_strokes_are_thinner() -> None:
    def border_share(widths: tuple[float, float]) -> float:
        hole = strokes(np.random.default_rng(0), 512, 0.3, widths)
        return float(np.abs(np.diff(hole.astype(int))).sum() / hole.sum())

    assert border_share(THIN) > 2 * border_share((0.04, 0.15))


def test_holes_lie_across_edges() -> None:
    """Beside texture as strong as it, the one long edge still draws most holes."""
    random = np.random.default_rng(0)
    image = np.full((128, 128, 3), 60, np.uint8)
    image[:, 96:] = 200
    image[:, :64] = random.integers(0, 256, (128, 64, 1), np.uint8)
    drawn = np.mean([across_edges(np.random.default_rng(seed), image) for seed in range(60)], 0)
    assert drawn[:, 92:100].mean() > 1.35 * drawn[:, :48].mean()
    flat = np.full((64, 64, 3), 9, np.uint8)
    assert 0.05 < across_edges(random, flat).mean() < 0.6  # where there is no edge, anywhere


def test_training_holes_leave_something_and_take_something() -> None:
    random = np.random.default_rng(0)
    image = scene((0, 1), 64)
    covers = [training_hole(random, image).mean() for _ in range(300)]
    assert min(covers) > 0.03
    assert max(covers) < 0.8
    assert 0.2 < np.mean(covers) < 0.4


def test_sample_n_is_the_same_in_every_run(tmp_path: Path) -> None:
    save_noise(tmp_path / "a.png", 200, 150)
    save_noise(tmp_path / "b.png", 90, 300)
    one, other = (Samples(Folder(tmp_path), 64, seed=7) for _ in range(2))
    other[0], other[1]  # what was read before does not matter
    assert torch.equal(one[5].pixels, other[5].pixels)
    assert torch.equal(one[5].hole, other[5].hole)
    assert not torch.equal(one[5].pixels, one[6].pixels)
    batch = collate([one[5], one[6]]).to(torch.device("cpu"))
    assert batch.image.shape == (2, 3, 64, 64)
    assert batch.mask.shape == (2, 1, 64, 64)
    assert float(batch.image.max()) <= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_other_colours_keep_what_is_brighter(seed: int) -> None:
    """Each channel through one rising curve, so structure stays where it is."""
    levels = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    made = recoloured(np.random.default_rng(seed), levels)
    assert made.shape == levels.shape
    assert made.dtype == np.uint8
    assert (np.diff(made.astype(int), axis=1) >= 0).all()
    assert made[0, 128].max() > 20


def test_one_in_eight_is_grey() -> None:
    """Of 400, 50 ± 4 standard deviations (6.6)."""
    random = np.random.default_rng(0)
    colours = np.zeros((2, 2, 3), np.uint8) + np.array([200, 100, 50], np.uint8)
    grey = [np.ptp(recoloured(random, colours), axis=2).max() == 0 for _ in range(400)]
    assert 24 <= sum(grey) <= 76


class Numbered:
    """Images that hold their number."""

    def __init__(self, first: int, count: int) -> None:
        self._numbers = range(first, first + count)

    def __len__(self) -> int:
        return len(self._numbers)

    def name(self, index: int) -> str:
        return f"number {self._numbers[index]}"

    def read(self, index: int) -> np.ndarray:
        return np.full((8, 8, 3), self._numbers[index], np.uint8)


def test_sources_are_drawn_by_their_shares() -> None:
    mixture = Mixture([(Numbered(0, 4), [3, 1, 1, 1], 0.75), (Numbered(4, 100), None, 0.25)])
    random = np.random.default_rng(0)
    drawn = [int(mixture.read(int(random.integers(len(mixture))))[0, 0, 0]) for _ in range(4000)]
    counts = np.bincount(drawn, minlength=104) / len(drawn)
    # Binomial deviations are at most 0.008; four of them.
    assert counts[:4].sum() == pytest.approx(0.75, abs=0.03)
    assert counts[0] == pytest.approx(0.375, abs=0.03)
    assert counts[1] == pytest.approx(0.125, abs=0.025)
    assert set(drawn) >= {0, 1, 2, 3}
    assert (counts[4:] > 0).mean() > 0.95
    assert mixture.name(len(mixture) - 1) == "number 103"


def test_reefs_share_one_weight(tmp_path: Path) -> None:
    for name in ("reef-1", "reef-2", "reef-3", "road"):
        save_noise(tmp_path / f"{name}.png", 20, 20)
    assert Folder(tmp_path).weights([("reef-*", 1.5)]) == [0.5, 0.5, 0.5, 1]
    with pytest.raises(TrainingError, match=r"no photograph is called sky-\*"):
        Folder(tmp_path).weights([("sky-*", 1)])


def test_one_photograph_will_do(tmp_path: Path) -> None:
    save_noise(tmp_path / "only.png", 80, 100)
    samples = Samples(Mixture([(Folder(tmp_path), None, 1)]), 64, seed=0)
    assert not torch.equal(samples[0].pixels, samples[1].pixels)


def test_photographs_of_every_kind_are_read(tmp_path: Path) -> None:
    """CMYK, 16 bits, a palette with a transparent colour, the first of several frames."""
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "1-deep.png")
    rgb = Image.fromarray(np.repeat((ramp >> 8).astype(np.uint8)[:, :, None], 3, axis=2))
    rgb.convert("CMYK").save(tmp_path / "2-cmyk.jpg", quality=95)
    rgb.quantize(64).save(tmp_path / "3-palette.png", transparency=0)
    rgb.save(tmp_path / "4-moving.webp", save_all=True, append_images=[rgb.rotate(90)])
    folder = Folder(tmp_path)
    for index in range(len(folder)):
        pixels = folder.read(index)
        assert pixels.shape == (64, 64, 3)
        assert pixels.dtype == np.uint8
        # A tenth of the range for what a palette and JPEG lose.
        assert np.abs(pixels[..., 0].astype(int) - (ramp >> 8)).mean() < 25, folder.name(index)


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
