"""What a mask means: every way to say the same, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from rethined_export.errors import UserError
from rethined_export.photo.files import Photo, read_mask, read_photo, write_photo
from rethined_export.photo.masks import CHANNELS, MaskRule, mask_of

PHOTOS = sorted((Path(__file__).parents[1] / "data" / "photos").glob("*.jpg"))
HOLE = np.zeros((40, 60), bool)
HOLE[8:21, 10:31] = True
HOLE[30, 5:50] = True  # one pixel high


def on(mark: object, ground: object = 0, dtype: type = np.uint8) -> np.ndarray:
    """The hole in one colour on another."""
    flags = HOLE if np.ndim(mark) == 0 else HOLE[..., None]
    return np.where(flags, np.asarray(mark), np.asarray(ground)).astype(dtype)


def rgba(colour: tuple[int, int, int], hidden: tuple[int, int, int]) -> np.ndarray:
    """A shape painted on nothing."""
    return np.dstack([on(colour, hidden), on(255)])


def saved(path: Path, pixels: np.ndarray | Image.Image, **options: object) -> Path:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def palette(colours: list[int]) -> Image.Image:
    image = Image.fromarray(on(1), "P")
    image.putpalette(colours + [0] * (768 - len(colours)))
    return image


WHITE = Image.fromarray(on(255))
SAME: dict[str, Callable[[], np.ndarray | Image.Image]] = {
    "0 and 255": lambda: on(255),
    "0 and 1": lambda: on(1),
    "0 and 2": lambda: on(2),
    "grey 100": lambda: on(100),
    "studio levels": lambda: on(235, 16),
    "one bit": lambda: WHITE.convert("1"),
    "white RGB": lambda: WHITE.convert("RGB"),
    "opaque RGBA": lambda: WHITE.convert("RGBA"),
    "opaque LA": lambda: WHITE.convert("LA"),
    "red": lambda: on((255, 0, 0)),
    "blue": lambda: on((0, 0, 255)),
    "green on navy": lambda: on((0, 255, 0), (0, 0, 20)),
    "0 and 1 RGB": lambda: on((1, 1, 1)),
    "dark red": lambda: on((128, 0, 0)),
    "palette": lambda: palette([0, 0, 0, 128, 0, 0]),
    "palette of one colour": lambda: palette([]),
    "black, shape in alpha": lambda: rgba((0, 0, 0), (0, 0, 0)),
    "white, shape in alpha": lambda: rgba((255, 255, 255), (255, 255, 255)),
    "white on nothing": lambda: rgba((255, 255, 255), (0, 0, 0)),
    "red on nothing": lambda: rgba((255, 0, 0), (0, 0, 0)),
    "16 bits": lambda: on(65535, 0, np.uint16),
    "0 and 1 in 16 bits": lambda: on(1, 0, np.uint16),
    "0 and 255 in 16 bits": lambda: on(255, 0, np.uint16),
    "32 bits": lambda: on(1, 0, np.int32),
    "0.0 and 1.0": lambda: on(1, 0, np.float32),
    "faint, in 16 bits": lambda: on(256, 0, np.uint16),
    "faint, floats up to 1.0": lambda: on(0.001, 0, np.float32),
    "faint, 32 bits": lambda: on(70000, 0, np.int32),
}


@pytest.mark.parametrize("name", SAME)
def test_one_colour_on_a_background_in_any_mode(tmp_path, name):
    ending = "tif" if "32 bits" in name or "1.0" in name else "png"
    mask = read_mask(saved(tmp_path / f"mask.{ending}", SAME[name]()))
    assert mask.hole.dtype == np.bool_
    assert np.array_equal(mask.hole, HOLE)
    assert mask.grey == 0
    inverted = read_mask(tmp_path / f"mask.{ending}", MaskRule(invert=True))
    assert np.array_equal(inverted.hole, ~HOLE)


@pytest.mark.parametrize("quality", [60, 90])
@pytest.mark.parametrize("colour", [(255, 255, 255), (255, 0, 0), (128, 0, 0), (100, 100, 100)])
def test_jpeg_blurs_a_mask_by_a_pixel_or_two(tmp_path, colour, quality):
    hole = np.kron(HOLE[:30], np.ones((16, 16), bool))
    pixels = np.where(hole[..., None], colour, 0).astype(np.uint8)
    path = saved(tmp_path / "mask.jpg", pixels, quality=quality)
    wrong = read_mask(path).hole != hole
    near = cv2.dilate(hole.astype(np.uint8), np.ones((5, 5))) != cv2.erode(
        hole.astype(np.uint8), np.ones((5, 5))
    )
    assert not wrong[~near].any()
    assert wrong.mean() < 0.01


@settings(deadline=None, max_examples=30)
@given(
    sigma=st.floats(0.5, 10),
    level=st.sampled_from([60, 128, 255]),
    radius=st.integers(45, 120),
)
def test_soft_edges_are_cut_at_half_of_the_marks_own_colour(sigma, level, radius):
    drawn = np.zeros((320, 320), np.uint8)
    cv2.circle(drawn, (160, 150), radius, level, -1)
    soft = cv2.GaussianBlur(drawn, (0, 0), sigma)
    mask = mask_of(soft[..., None], "mask")
    assert np.array_equal(mask.hole, soft >= (level + 1) // 2)
    assert 0 < mask.grey < soft.size / 4
    assert f"from {(level + 1) // 2} of 255" in mask.rule


def test_smooth_outlines_of_a_drawing_program():
    drawn = np.zeros((200, 200), np.uint8)
    cv2.line(drawn, (10, 20), (190, 170), 255, 2, cv2.LINE_AA)
    cv2.circle(drawn, (60, 150), 21, 255, -1, cv2.LINE_AA)
    mask = mask_of(drawn[..., None], "mask")
    assert np.array_equal(mask.hole, drawn >= 128)
    assert mask.grey


# --- What can be read in two ways ----------------------------------------------------------------


def three(*colours: object) -> np.ndarray:
    """Thirds of a mask, side by side."""
    return np.concatenate([np.full((30, 20, 3), c, np.uint8) for c in colours], axis=1)


UNCLEAR = {
    "three greys": (three(0, 128, 255), "black 33.3%, grey 128 33.3%, white 33.3%"),
    "class numbers": (three(0, 1, 2), "black 33.3%, grey 1 33.3%, grey 2 33.3%"),
    "several colours": (three(0, (128, 0, 0), (0, 128, 0)), r"\(128, 0, 0\) 33.3%"),
    "red beside white": (three(0, 255, (255, 0, 0)), r"\(255, 0, 0\) 33.3%"),
    "red on white": (three((255, 0, 0), 255, 255), "neither is black"),
    "two greys": (three(100, 200, 200), "grey 100 33.3%, grey 200 66.7%, and neither is black"),
    "black on hidden white": (rgba((0, 0, 0), (255, 255, 255)), "which is another part"),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_unclear_masks_are_refused_with_what_was_seen(tmp_path, name):
    pixels, seen = UNCLEAR[name]
    path = saved(tmp_path / "mask.png", pixels)
    with pytest.raises(UserError, match=seen) as caught:
        read_mask(path)
    assert str(path) in str(caught.value)
    assert "--mask-" in str(caught.value)


@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.stem)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_photo_is_no_mask(tmp_path, path, mode):
    photo = saved(tmp_path / "photo.png", Image.open(path).convert(mode).reduce(3))
    with pytest.raises(UserError, match=r"\d+% of its pixels are neither .* not a mask"):
        read_mask(photo)
    assert read_mask(photo, MaskRule(threshold=128)).hole.any()


def test_a_photo_with_the_hole_cut_out_says_which_options_read_it(tmp_path):
    photo = np.asarray(Image.open(PHOTOS[0]).convert("RGB"))[: HOLE.shape[0], : HOLE.shape[1]]
    path = saved(tmp_path / "cut.png", np.dstack([photo, on(0, 255)]))
    with pytest.raises(UserError, match="--mask-channel alpha --mask-invert"):
        read_mask(path)
    rule = MaskRule(channel="alpha", invert=True)
    assert np.array_equal(read_mask(path, rule).hole, HOLE)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_values_that_are_no_grey(tmp_path, bad):
    path = saved(tmp_path / "mask.tif", on(bad, 0, np.float32))
    with pytest.raises(UserError, match="below 0, NaN or infinite"):
        read_mask(path)


# --- The options ---------------------------------------------------------------------------------


def test_the_threshold_settles_it():
    pixels = three(0, 1, (9, 200, 9))
    bright = pixels.max(axis=2)
    for threshold in (1, 2, 128, 200, 201):
        mask = mask_of(pixels, "mask", MaskRule(threshold=threshold))
        assert np.array_equal(mask.hole, bright >= threshold)
        assert str(threshold) in mask.rule


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_channel_alone(channel):
    pixels = np.full((40, 60, 4), 77, np.uint8)
    if channel == "grey":
        pixels[..., :3] = on((255, 255, 255))
    else:
        pixels[..., ("red", "green", "blue", "alpha").index(channel)] = on(255)
    mask = mask_of(pixels, "mask", MaskRule(channel=channel))
    assert np.array_equal(mask.hole, HOLE)
    assert channel in mask.rule


def test_no_alpha_to_look_at():
    with pytest.raises(UserError, match="no alpha channel"):
        mask_of(on((255, 0, 0)), "mask", MaskRule(channel="alpha"))


# --- The rest ------------------------------------------------------------------------------------


def test_shades_of_alpha_say_nothing_about_the_hole():
    shades = np.random.default_rng(0).integers(0, 256, HOLE.shape, np.uint8)
    assert np.array_equal(mask_of(np.dstack([on(255), shades]), "mask").hole, HOLE)


@pytest.mark.parametrize("colour", [(255, 255, 255), (255, 0, 0), (9, 9, 9)])
@pytest.mark.parametrize("hidden", [0, 255])
def test_a_smooth_shape_painted_on_nothing(colour, hidden):
    drawn = np.zeros((200, 200), np.uint8)
    cv2.line(drawn, (10, 20), (190, 170), 255, 2, cv2.LINE_AA)
    pixels = np.dstack([np.where(drawn[..., None] > 0, colour, hidden).astype(np.uint8), drawn])
    assert np.array_equal(mask_of(pixels, "mask").hole, drawn >= 128)


def test_white_marks_the_hole_however_large_it_is():
    assert np.array_equal(mask_of(on(0, 255)[..., None], "mask").hole, ~HOLE)


@pytest.mark.parametrize("value", [0, 255, 9])
def test_one_colour_everywhere(value):
    mask = mask_of(np.full((3, 4, 3), value, np.uint8), "mask")
    assert mask.share == (value > 0)
    assert mask.grey == 0


def test_a_mask_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = saved(tmp_path / "mask.png", np.array([[255, 0, 0]], np.uint8), exif=exif)
    assert read_mask(path).hole.tolist() == [[True], [False], [False]]


def test_colour_masks_of_16_bits(tmp_path):
    write_photo(Photo(on((65535, 0, 0), 0, np.uint16)), tmp_path / "mask.png")
    assert read_photo(tmp_path / "mask.png").pixels.dtype == np.uint16
    assert np.array_equal(read_mask(tmp_path / "mask.png").hole, HOLE)
