"""Scenes of a user's own photo and mask, at another size."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rethined_export.errors import UserError
from rethined_export.photo.masks import MaskRule
from rethined_export.photo.resampling import touched, touched_window
from rethined_export.photo.scenes import middle_hole, user_scene
from rethined_export.photo.window import Window


def test_lines_one_pixel_wide_are_not_lost() -> None:
    hole = np.zeros((3000, 3000), bool)
    hole[1001, 200:2800] = hole[200:2800, 1499] = True
    small = middle_hole(Path("mask.png"), hole, Window.square(512))
    assert small[1001 * 512 // 3000, 34:478].all()
    assert small[34:478, 1499 * 512 // 3000].all()
    assert small.mean() < 3 * 2 / 512


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 999), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_a_hole_pixel_anywhere_marks_what_covers_it(
    seed: int, length: int, height: int, width: int
) -> None:
    hole = np.random.default_rng(seed).random((length, length)) < 0.1
    small = touched(hole, (height, width))
    for y in range(height):
        rows = slice(y * length // height, -(-(y + 1) * length // height))
        for x in range(width):
            columns = slice(x * length // width, -(-(x + 1) * length // width))
            assert small[y, x] == hole[rows, columns].any()
    rows, columns = np.arange(-(length // 2), length) % length, np.arange(length)
    window = hole[np.ix_(rows, columns)]
    seen = touched_window(hole, rows, columns, (height, width))
    assert np.array_equal(seen, touched(window, (height, width)))


def test_the_rule_reaches_the_mask(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "photo.png")
    greys = np.zeros((40, 40), np.uint8)
    greys[5:15], greys[25:35] = 100, 200
    Image.fromarray(greys).save(tmp_path / "mask.png")
    window = Window.square(40)
    with pytest.raises(UserError, match=r"grey 100 25\.0%, grey 200 25\.0%"):
        user_scene(tmp_path / "photo.png", tmp_path / "mask.png", window)
    for rule, cover in ((MaskRule(1), 0.5), (MaskRule(101), 0.25), (MaskRule(101, True), 0.75)):
        scene = user_scene(tmp_path / "photo.png", tmp_path / "mask.png", window, rule)
        assert scene.cover == pytest.approx(cover)


def test_frames_reach_photo_and_mask(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((40, 40, 3), value, np.uint8)) for value in (0, 255)]
    pages[0].save(tmp_path / "photo.tif", save_all=True, append_images=pages[1:])
    holes = [Image.fromarray(np.uint8(np.arange(1600).reshape(40, 40) < n) * 255) for n in (400, 8)]
    holes[0].save(tmp_path / "mask.tif", save_all=True, append_images=holes[1:])
    for frame in (1, 2):
        scene = user_scene(
            tmp_path / "photo.tif",
            tmp_path / "mask.tif",
            Window.square(40),
            MaskRule(frame=3 - frame),
            frame,
        )
        assert scene.image.mean() == frame - 1
        assert scene.cover == pytest.approx((400, 8)[2 - frame] / 1600)
