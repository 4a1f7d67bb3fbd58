"""The shipped weights on random photos, holes and sizes: no NaN, nothing but the hole touched."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from rethined_export.cli.export import main as export
from rethined_export.converters import TARGETS, converter
from rethined_export.models.rethined.training.masks import blobs, boxes, strokes
from rethined_export.photo.files import Photo, read_photo
from rethined_export.photo.scenes import photo_path
from rethined_export.photo.squares import inpaint
from rethined_export.quality.scenes import BUNDLED

SIDE = 512
COMBINATIONS = 500


def random_photo(random: np.random.Generator) -> Photo:
    """A bundled photo, cut to a random shape, at a random size."""
    pixels = read_photo(photo_path(BUNDLED[random.integers(len(BUNDLED))])).pixels
    height, width = (int(length * random.uniform(0.3, 1)) for length in pixels.shape[:2])
    top, left = (int(random.integers(full - part + 1)) for full, part in
                 zip(pixels.shape[:2], (height, width), strict=True))  # fmt: skip
    scale = random.uniform(0.2, 2.5)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    cut = cv2.resize(pixels[top : top + height, left : left + width], size)
    return Photo(np.ascontiguousarray(cut.reshape(size[1], size[0], -1), np.uint8))


def random_hole(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """From one pixel to most of the photo."""
    hole = np.zeros((height, width), bool)
    draw = (strokes, boxes, blobs, None)[random.integers(4)]
    if draw is None:
        hole[random.integers(height), random.integers(width)] = True
    else:
        cover = random.choice([random.uniform(0.01, 0.1), random.uniform(0.1, 0.8)])
        square = draw(random, 256, float(cover))
        hole[:] = cv2.resize(square, (width, height), interpolation=cv2.INTER_NEAREST) > 0
    if not hole.any() or hole.all():
        hole[:] = False
        hole[0, 0] = True
    return hole


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_but_the_hole_changes(target: str, tmp_path: Path) -> None:
    options = ["--target", target, "--hr", str(SIDE), "--no-verify", "--output", str(tmp_path)]
    assert export(options) == 0
    (artifact,) = tmp_path.glob(f"*{TARGETS[target].suffix}")
    random = np.random.default_rng(0)
    with converter(target).load(artifact, threads=2) as runtime:

        def fill(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
            return runtime(image=image, mask=mask)["output"]

        for number in range(COMBINATIONS):
            photo = random_photo(random)
            hole = random_hole(random, photo.height, photo.width)
            # inpaint() itself refuses values that are not finite
            filled = inpaint(photo, hole, fill, SIDE).pixels
            assert np.array_equal(filled[~hole], photo.pixels[~hole]), number
