"""The crop around a hole, and that nothing but the hole changes."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rethined_export.errors import UserError
from rethined_export.photo.files import Photo, read_photo
from rethined_export.photo.squares import Crop, choose_crop, inpaint

SIDE = 16
DATA = Path(__file__).parents[1] / "data" / "photos"


def noise(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    full = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, full, shape, dtype, endpoint=True)


def hole_at(height: int, width: int, *boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Boxes are (top, left, height, width)."""
    hole = np.zeros((height, width), bool)
    for top, left, tall, wide in boxes:
        hole[top : top + tall, left : left + wide] = True
    return hole


class Recorder:
    """A fill that keeps what it saw and returns one value, or the given square."""

    def __init__(self, answer: float | np.ndarray = 0.5) -> None:
        self.answer = answer

    def __call__(self, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        self.image, self.mask = image.copy(), mask.copy()
        return np.zeros_like(image) + np.asarray(self.answer, np.float32)


# --- What changes and what does not --------------------------------------------------------------


@st.composite
def cases(draw):
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    if height * width < 2:
        width = 2
    shape = (height, width, draw(st.integers(1, 4)))
    dtype = draw(st.sampled_from([np.uint8, np.uint16]))
    photo = Photo(noise(*shape, dtype=dtype, seed=draw(st.integers(0, 99))), icc=b"i", exif=b"e")
    boxes = []
    for _ in range(draw(st.integers(0, 3))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        tall, wide = draw(st.integers(1, height - top)), draw(st.integers(1, width - left))
        boxes.append((top, left, tall, wide))
    hole = hole_at(height, width, *boxes)
    if hole.all():
        hole[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = False
    return photo, hole, draw(st.sampled_from([0.0, 0.5, 1.0, 7.0, -3.0]))


@settings(deadline=None, max_examples=300)
@given(cases())
def test_known_pixels_and_alpha_stay_and_the_hole_is_filled(case):
    photo, hole, value = case
    before, fill = photo.pixels.copy(), Recorder(value)
    try:
        result = inpaint(photo, hole, fill, SIDE)
    except UserError as error:  # shrunk so far that holes are everywhere
        assert "no pixel to copy from" in str(error)
        assert max(photo.height, photo.width) > SIDE
        return
    assert np.array_equal(photo.pixels, before)
    assert (result.icc, result.exif) == (photo.icc, photo.exif)
    assert result.pixels.dtype == photo.pixels.dtype
    assert result.pixels[~hole].tobytes() == before[~hole].tobytes()
    if photo.has_alpha:
        assert np.array_equal(result.pixels[..., -1], before[..., -1])
    if not hole.any():
        assert result is photo
        return
    assert fill.image.shape == (1, 3, SIDE, SIDE) and fill.image.dtype == np.float32
    assert fill.mask.shape == (1, 1, SIDE, SIDE) and fill.mask.dtype == np.float32
    assert fill.image.min() >= 0 and fill.image.max() <= 1
    assert set(np.unique(fill.mask)) == {0.0, 1.0}
    if choose_crop(hole, SIDE).size == (SIDE, SIDE):  # otherwise the edge of the hole is blended
        filled = result.pixels[hole][:, : photo.colours]
        assert np.all(filled == round(min(max(value, 0), 1) * photo.full))


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_native_crop_sees_the_pixels_and_lands_where_it_was_cut(data):
    height, width = data.draw(st.integers(1, 60)), data.draw(st.integers(17, 60))
    photo = Photo(noise(height, width, data.draw(st.sampled_from([1, 3, 4]))))
    tall, wide = data.draw(st.integers(1, min(8, height))), data.draw(st.integers(1, 8))
    top = data.draw(st.integers(0, height - tall))
    left = data.draw(st.integers(0, width - wide))
    hole = hole_at(height, width, (top, left, tall, wide))
    coordinates = np.arange(SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE) / 255
    fill = Recorder(coordinates)

    result = inpaint(photo, hole, fill, SIDE)

    crop = choose_crop(hole, SIDE)
    assert crop.size == (SIDE, SIDE)
    if height >= SIDE:
        assert 0 <= crop.top <= top and top + tall <= crop.top + SIDE <= height
    assert 0 <= crop.left <= left and left + wide <= crop.left + SIDE <= width
    for y in range(max(crop.top, 0), min(crop.top + SIDE, height)):
        for x in range(crop.left, crop.left + SIDE):
            seen = (y - crop.top, x - crop.left)
            expected = photo.pixels[y, x, : photo.colours].astype(np.float32) / 255
            assert np.all(fill.image[0, :, *seen] == expected)
            assert fill.mask[0, 0, *seen] == hole[y, x]
            if hole[y, x]:
                assert np.all(result.pixels[y, x, : photo.colours] == seen[0] * SIDE + seen[1])


def test_the_fill_is_rounded_to_nearest_and_clipped():
    photo = Photo(np.zeros((SIDE, SIDE, 3), np.uint8))
    answer = np.array([100.6 / 255, 100.4 / 255, 1.7]).reshape(1, 3, 1, 1)
    result = inpaint(photo, hole_at(SIDE, SIDE, (3, 3, 1, 1)), Recorder(answer), SIDE)
    assert result.pixels[3, 3].tolist() == [101, 100, 255]


def test_grey_runs_as_three_equal_channels_and_returns_their_mean():
    photo = Photo(noise(SIDE, SIDE, 2))
    fill = Recorder(np.array([10, 20, 31]).reshape(1, 3, 1, 1) / 255)
    result = inpaint(photo, hole_at(SIDE, SIDE, (3, 3, 1, 1)), fill, SIDE)
    assert np.array_equal(fill.image[0, 0], fill.image[0, 1])
    assert np.array_equal(fill.image[0, 0], fill.image[0, 2])
    assert result.pixels[3, 3].tolist() == [20, photo.pixels[3, 3, 1]]


def test_16_bits_reach_the_fill_and_come_back():
    photo = Photo(noise(SIDE, SIDE, 3, dtype=np.uint16))
    hole = hole_at(SIDE, SIDE, (2, 2, 6, 6))
    result = inpaint(photo, hole, lambda image, _mask: image, SIDE)
    assert np.array_equal(result.pixels, photo.pixels)


def test_colours_multiplied_by_alpha_stay_below_it():
    pixels = np.full((SIDE, SIDE, 4), 40, np.uint8)
    hole = hole_at(SIDE, SIDE, (3, 3, 2, 2))
    result = inpaint(Photo(pixels, alpha="premultiplied"), hole, Recorder(1.0), SIDE)
    assert np.array_equal(result.pixels, pixels)
    assert inpaint(Photo(pixels), hole, Recorder(1.0), SIDE).pixels.max() == 255


# --- Which crop ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "boxes", "crop"),
    [
        (100, 100, [(50, 50, 1, 1)], Crop(42, 42, 16, 16)),
        (100, 100, [(0, 0, 1, 1)], Crop(0, 0, 16, 16)),
        (100, 100, [(99, 99, 1, 1)], Crop(84, 84, 16, 16)),
        (100, 100, [(40, 40, 8, 2)], Crop(36, 33, 16, 16)),  # the largest hole at native resolution
        (100, 100, [(40, 40, 9, 9)], Crop(35, 35, 18, 18)),
        (100, 100, [(0, 0, 1, 1), (99, 99, 1, 1)], Crop(0, 0, 100, 100)),  # far apart
        (100, 60, [(10, 0, 60, 60)], Crop(0, -20, 100, 100)),
        (3, 2000, [(1, 1000, 1, 1)], Crop(-6, 992, 16, 16)),
        (3, 2000, [(0, 0, 2, 2000)], Crop(-998, 0, 2000, 2000)),
        (10, 12, [(0, 0, 1, 1)], Crop(-1, 0, 12, 12)),  # smaller than the model's side
    ],
)
def test_choose_crop(height, width, boxes, crop):
    assert choose_crop(hole_at(height, width, *boxes), SIDE) == crop


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_hole_is_brought_into_the_middle(data):
    """Whole, wherever it lies as long as it touches no border, and however large it is."""
    height, width = data.draw(st.integers(3, 90)), data.draw(st.integers(3, 90))
    middle = data.draw(st.sampled_from([4, 6, 8, 12]))
    tall, wide = data.draw(st.integers(1, height - 2)), data.draw(st.integers(1, width - 2))
    top = data.draw(st.integers(1, height - 1 - tall))
    left = data.draw(st.integers(1, width - 1 - wide))
    photo, hole = Photo(noise(height, width, 3)), hole_at(height, width, (top, left, tall, wide))
    before, fill = photo.pixels.copy(), Recorder(0.5)

    result = inpaint(photo, hole, fill, SIDE, middle=middle)

    rim = (SIDE - middle) // 2
    outside = fill.mask[0, 0].copy()
    outside[rim : SIDE - rim, rim : SIDE - rim] = 0
    assert fill.mask.any()
    assert not outside.any()
    assert result.pixels[~hole].tobytes() == before[~hole].tobytes()
    if max(tall, wide) <= middle:  # as the photo has it, not resampled
        assert fill.mask.sum() == tall * wide
        assert np.all(result.pixels[hole] == 128)


def test_around_the_middle_the_border_is_repeated():
    """A reflection would show the hole a second time."""
    photo, fill = Photo(noise(40, 40, 3)), Recorder()
    inpaint(photo, hole_at(40, 40, (20, 1, 4, 4)), fill, SIDE, middle=8)
    crop = choose_crop(hole_at(40, 40, (20, 1, 4, 4)), SIDE, 8)
    assert (crop.top, crop.left, crop.size) == (14, -5, (SIDE, SIDE))
    edge = photo.pixels[14:30, 0].astype(np.float32).T / np.float32(255)
    assert np.array_equal(fill.image[0, :, :, :5], np.repeat(edge[:, :, None], 5, axis=2))
    assert fill.mask[0, 0, :, :6].sum() == 0
    assert fill.mask.sum() == 16


def test_padding_reflects_photo_and_hole_alike():
    photo = Photo(noise(3, 40, 3))
    fill = Recorder()
    inpaint(photo, hole_at(3, 40, (0, 20, 1, 1)), fill, SIDE)
    rows = np.abs((np.arange(SIDE) - 6 + 4 * 10) % 4)  # 0 1 2 1 0 1 2 1 ...
    rows = np.where(rows == 3, 1, rows)
    columns = slice(12, 28)
    expected = photo.pixels[rows][:, columns].astype(np.float32) / 255
    assert np.array_equal(np.moveaxis(fill.image[0], 0, 2), expected)
    assert np.array_equal(fill.mask[0, 0, :, 8], rows == 0)


@pytest.mark.parametrize("shape", [(1, 2), (1, 500), (500, 1), (3, 2000), (2, 2), (17, 15)])
def test_thin_and_tiny_photos(shape):
    photo = Photo(noise(*shape, 3))
    hole = hole_at(*shape, (shape[0] - 1, shape[1] - 1, 1, 1))
    result = inpaint(photo, hole, Recorder(0.0), SIDE)
    assert np.array_equal(result.pixels[~hole], photo.pixels[~hole])


# --- Resampling ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [40, 50, 64])
def test_no_hole_colour_reaches_the_known_pixels_of_a_shrunk_crop(size):
    hole = hole_at(size, size, (5, 7, 21, 23))
    dark = Photo(np.where(hole[..., None], 255, noise(size, size, 3) // 4).astype(np.uint8))
    light = Photo(np.where(hole[..., None], 0, dark.pixels).astype(np.uint8))
    one, two = Recorder(), Recorder()
    inpaint(dark, hole, one, SIDE)
    inpaint(light, hole, two, SIDE)
    known = one.mask[0, 0] == 0
    assert np.array_equal(one.mask, two.mask)
    assert 0 < known.sum() < SIDE * SIDE
    assert np.allclose(one.image[0][:, known], two.image[0][:, known], atol=1e-6)


def test_no_hole_colour_reaches_an_enlarged_crop():
    hole = hole_at(9, 12, (3, 3, 2, 3))
    photo = Photo(np.where(hole[..., None], 255, 100).astype(np.uint8).repeat(3, axis=2))
    fill = Recorder()
    inpaint(photo, hole, fill, SIDE)
    assert np.allclose(fill.image, 100 / 255, atol=1e-6)
    assert 0 < fill.mask.sum() < SIDE * SIDE


def test_one_hole_pixel_survives_shrinking():
    hole = hole_at(1600, 1600, (7, 7, 1, 1), (1500, 1500, 1, 1))
    fill = Recorder()
    inpaint(Photo(np.zeros((1600, 1600, 1), np.uint8)), hole, fill, SIDE)
    assert np.argwhere(fill.mask[0, 0]).tolist() == [[0, 0], [15, 15]]


@pytest.mark.parametrize("box", [(200, 250, 130, 160), (100, 100, 30, 40)])
def test_a_resampled_result_lands_in_place(box):
    """A fill that knows the answer: what comes back must be the photo again, but for blur."""
    truth = read_photo(DATA / "coffee.jpg").pixels
    smooth = np.linspace(0, 255, truth.shape[1]).astype(np.uint8)
    ramp = np.broadcast_to(smooth[None, :, None], truth.shape)
    hole = hole_at(*truth.shape[:2], box)
    for pixels in (ramp, np.ascontiguousarray(ramp[:, ::-1])):
        result = inpaint(Photo(pixels), hole, lambda image, _mask: image, 64)
        assert np.abs(result.pixels.astype(int) - pixels)[hole].max() <= 2
    for side in (64, 128, 1024):  # 1024 is larger than the photo
        result = inpaint(Photo(truth), hole, lambda image, _mask: image, side)
        assert np.array_equal(result.pixels[~hole], truth[~hole])


def test_a_hole_everywhere_after_shrinking_is_refused():
    hole = np.zeros((64, 64), bool)
    hole[::2] = True
    with pytest.raises(UserError, match="no pixel to copy from"):
        inpaint(Photo(noise(64, 64, 3)), hole, Recorder(), SIDE)


def test_the_seam_of_a_shrunk_crop_grows_out_of_the_photo():
    """White fill on a black photo: the first hole pixels are dark, those further in are white."""
    photo, hole = Photo(np.zeros((160, 160, 4), np.uint8)), hole_at(160, 160, (40, 40, 80, 80))
    result = inpaint(photo, hole, Recorder(1.0), SIDE)
    assert choose_crop(hole, SIDE).height == 10 * SIDE
    along = result.pixels[80, 40:120, 0].astype(int)
    assert along[0] < 40 and along[19] == 255  # ten photo pixels a model pixel
    assert np.all(np.diff(along[:20]) >= 0)
    assert result.pixels[~hole].tobytes() == photo.pixels[~hole].tobytes()
    assert not result.pixels[..., 3].any()


def test_nothing_is_blended_where_nothing_is_resampled():
    photo, hole = Photo(np.zeros((40, 40, 3), np.uint8)), hole_at(40, 40, (10, 10, 8, 8))
    assert np.all(inpaint(photo, hole, Recorder(1.0), SIDE).pixels[hole] == 255)


# --- Windows that are not square, and long photos -----------------------------------------------


@pytest.mark.parametrize(
    ("shape", "boxes", "crop"),
    [
        ((100, 200), [(50, 50, 1, 1)], Crop(42, 38, 16, 24)),
        ((100, 200), [(0, 190, 1, 10)], Crop(0, 176, 16, 24)),
        ((100, 200), [(40, 40, 8, 12)], Crop(36, 34, 16, 24)),  # the largest at native resolution
        ((100, 200), [(40, 40, 9, 2)], Crop(35, 27, 18, 27)),
        ((100, 200), [(40, 40, 2, 13)], Crop(32, 33, 18, 26)),  # 2 x 13 wide, its height rounded up
        ((100, 200), [(0, 0, 100, 200)], Crop(-17, 0, 134, 200)),  # what just holds the photo
        ((200, 100), [(0, 0, 200, 100)], Crop(0, -100, 200, 300)),
        ((8, 12), [(0, 0, 1, 1)], Crop(0, 0, 8, 12)),  # half the window
        ((8, 24), [(0, 0, 1, 1)], Crop(-4, 0, 16, 24)),
    ],
)
def test_choose_crop_of_the_windows_own_shape(shape, boxes, crop):
    assert choose_crop(hole_at(*shape, *boxes), (16, 24)) == crop


@settings(deadline=None, max_examples=200)
@given(cases(), st.sampled_from([(16, 24), (24, 16), (8, 32), (5, 7)]))
def test_known_pixels_stay_whatever_the_windows_shape(case, window):
    photo, hole, value = case
    if not hole.any():
        return
    crop, (height, width) = choose_crop(hole, window), hole.shape
    # The window's own shape, each side rounded up: one scale gives both.
    least = max((crop.height - 1) / window[0], (crop.width - 1) / window[1])
    most = min(crop.height / window[0], crop.width / window[1])
    assert least < most
    # Never more than holds the photo, and where that allows it, twice the hole's extent.
    assert least < max(height / window[0], width / window[1])
    for marked, side, length in zip(
        (hole.any(axis=1), hole.any(axis=0)), crop.size, hole.shape, strict=True
    ):
        assert side >= min(2 * np.ptp(np.flatnonzero(marked)) + 2, length)
    fill = Recorder(value)
    try:
        result = inpaint(photo, hole, fill, window)
    except UserError as error:
        assert "no pixel to copy from" in str(error)
        return
    assert fill.image.shape == (1, 3, *window) and fill.mask.shape == (1, 1, *window)
    assert result.pixels[~hole].tobytes() == photo.pixels[~hole].tobytes()
    if crop.size == window:
        filled = result.pixels[hole][:, : photo.colours]
        assert np.all(filled == round(min(max(value, 0), 1) * photo.full))


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("with_pair", [False, True])
def test_a_long_photo_needs_no_square_of_its_length(turn, with_pair):
    """A 400 MB square for the 12 MB of a 200 x 20000 photo, were its length squared held once."""
    shape = (200, 20000)
    ramp = np.broadcast_to(np.linspace(0, 255, shape[1])[None, :, None], (*shape, 3))
    pixels, hole = ramp.astype(np.uint8), hole_at(*shape, (60, 3000, 80, 9000))
    if turn:
        pixels, hole = np.swapaxes(pixels, 0, 1).copy(), hole.T.copy()
    photo, seen = Photo(pixels), []

    def fill(image, _mask):
        seen.append(image.shape)
        return image

    def fill_photo(small, marked, top, left):
        seen.append((small.shape, marked.shape, top, left))
        return small

    tracemalloc.start()
    result = inpaint(photo, hole, fill, 256, fill_photo if with_pair else None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 130e6
    assert np.abs(result.pixels.astype(int) - pixels).max() <= 2
    assert result.pixels[~hole].tobytes() == pixels[~hole].tobytes()
    small = ((256, 3, 3), (256, 3), 0, -127) if turn else ((3, 256, 3), (3, 256), -127, 0)
    assert seen == [small if with_pair else (1, 3, 256, 256)]


# --- Refusals ------------------------------------------------------------------------------------


def test_mask_of_another_size():
    photo = Photo(noise(20, 30, 3))
    with pytest.raises(UserError, match=r"mask is 31x20 but the photo is 30x20.*save both"):
        inpaint(photo, np.zeros((20, 31), bool), Recorder(), SIDE)
    with pytest.raises(UserError, match=r"mask is 20x30 but the photo is 30x20.*rotate"):
        inpaint(photo, np.zeros((30, 20), bool), Recorder(), SIDE)


def test_mask_that_is_all_hole():
    with pytest.raises(UserError, match="nothing to copy from"):
        inpaint(Photo(noise(20, 30, 3)), np.ones((20, 30), bool), Recorder(), SIDE)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(bad):
    photo, hole = Photo(noise(20, 30, 3)), hole_at(20, 30, (4, 4, 2, 2))
    with pytest.raises(RuntimeError, match="NaN or infinite"):
        inpaint(photo, hole, Recorder(bad), SIDE)


def test_wrong_shape():
    photo, hole = Photo(noise(20, 30, 3)), hole_at(20, 30, (4, 4, 2, 2))
    with pytest.raises(RuntimeError, match=r"shape \(1, 3, 8, 8\), not \(1, 3, 16, 16\)"):
        inpaint(photo, hole, lambda image, _mask: image[..., :8, :8], SIDE)
