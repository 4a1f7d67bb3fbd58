"""Every situation of the corpus: read exactly or said; written, and read again."""

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from photo import corpus, table
from PIL import Image, ImageOps

from rethined_export.errors import UserError
from rethined_export.photo.encoding import _write_chunk
from rethined_export.photo.files import check_output, losses, read_mask, read_photo, write_photo
from rethined_export.photo.masks import MaskRule
from rethined_export.photo.scenes import user_scene
from rethined_export.photo.window import Window

DOCS = Path(__file__).parents[2] / "docs" / "photos.md"
BEGIN, END = "<!-- made by tests/photo/test_corpus.py -->\n", "<!-- end -->\n"


@pytest.fixture(params=corpus.PHOTOS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """One situation; its name is what the table calls it."""
    ending, write = corpus.PHOTOS[request.param]
    path = tmp_path / f"{request.param.replace(' ', '_')}.{ending}"
    path.write_bytes(write())
    return path


def wide(stored: np.ndarray, white: int = 65535) -> np.ndarray:
    """Values up to white as 16 bits, rounded."""
    return ((stored.astype(np.int64) * 65535 * 2 + white) // (2 * white)).astype(np.uint16)


def shown_but(channels: int) -> np.ndarray:
    """16 bits and an alpha that hides the key colour only."""
    stored = corpus.pixels(channels, np.uint16).reshape(corpus.HEIGHT, corpus.WIDTH, channels)
    shown = (stored != stored[3, 4]).any(axis=2, keepdims=True)
    return np.concatenate([stored, shown * np.uint16(65535)], axis=2)


EXACT = {
    "PNG, grey": lambda: corpus.pixels(1),
    "PNG, RGBA": lambda: corpus.pixels(4),
    "PNG, 16-bit grey": lambda: corpus.pixels(1, np.uint16),
    "PNG, 16-bit grey, one value transparent": lambda: shown_but(1),
    "PNG, 16-bit grey and alpha": lambda: corpus.pixels(2, np.uint16),
    "PNG, 16-bit RGB": lambda: corpus.pixels(3, np.uint16),
    "PNG, 16-bit RGB, one colour transparent": lambda: shown_but(3),
    "PNG, 16-bit RGBA": lambda: corpus.pixels(4, np.uint16),
    "PNG, animated": lambda: corpus.pixels(3),
    "TIFF, grey, 0 is white": lambda: 255 - corpus.pixels(1),
    "TIFF, RGBA": lambda: corpus.pixels(4),
    "TIFF, RGBA, multiplied by alpha": lambda: corpus.pixels(4),
    "TIFF, RGB and an unexplained channel": lambda: corpus.pixels(4),
    "TIFF, 16-bit grey": lambda: corpus.pixels(1, np.uint16),
    "TIFF, 16-bit RGB": lambda: corpus.pixels(3, np.uint16),
    "TIFF, 16-bit RGBA": lambda: corpus.pixels(4, np.uint16),
    "TIFF, 16-bit RGBA, multiplied by alpha": lambda: corpus.pixels(4, np.uint16),
    "TIFF, 16-bit RGB and an unexplained channel": lambda: corpus.pixels(4, np.uint16),
    "PGM, 16 bits": lambda: corpus.pixels(1, np.uint16),
    "PPM, 16 bits": lambda: corpus.pixels(3, np.uint16),
    "PPM, 10 bits": lambda: wide(corpus.pixels(3, np.uint16, 1023), 1023),
    "JPEG 2000": lambda: corpus.pixels(3),
    "JPEG 2000, 16 bits": lambda: corpus.pixels(3, np.uint16),
    "JPEG 2000, 16-bit grey": lambda: corpus.pixels(1, np.uint16),
    "AVIF, 10 bits": lambda: wide(corpus.pixels(3, np.uint16, 1023), 1023),
    "TGA, RGBA": lambda: corpus.pixels(4),
}


@pytest.mark.parametrize("name", EXACT)
def test_pixels_are_those_of_the_file(tmp_path, name):
    ending, write = corpus.PHOTOS[name]
    (tmp_path / f"in.{ending}").write_bytes(write())
    expected = EXACT[name]().reshape(corpus.HEIGHT, corpus.WIDTH, -1)
    photo = read_photo(tmp_path / f"in.{ending}")
    assert photo.pixels.dtype == expected.dtype
    assert np.array_equal(photo.pixels, expected)


FIRST = [name for name in corpus.PHOTOS if "animated" in name or "several" in name or "two" in name]


@pytest.mark.parametrize("name", FIRST)
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_first_of_several_pictures(tmp_path, name, orientation):
    kind = {"PNG": "PNG", "JPEG": "MPO", "TIFF": "TIFF", "WebP": "WEBP", "GIF": "GIF"}[
        name.replace(",", "").split()[0]
    ]
    others = [Image.new("RGB", (corpus.WIDTH, corpus.HEIGHT), colour) for colour in ("red", "blue")]
    options = {"save_all": True, "append_images": others}
    if kind != "GIF":
        options["exif"] = corpus.exif(orientation)
    path = tmp_path / f"in.{corpus.PHOTOS[name][0]}"
    path.write_bytes(corpus.pillow(kind, corpus.pixels(3), **options))
    photo = read_photo(path)
    assert photo.frames == 3
    first = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    assert np.array_equal(photo.pixels[..., :3], first)
    assert read_mask(path, MaskRule(threshold=128)).frames == 3


def numbered(kind: str, **options) -> bytes:
    """Three pictures, the second of noise."""
    first, last = (Image.new("RGB", (corpus.WIDTH, corpus.HEIGHT), c) for c in ("red", "blue"))
    second = Image.fromarray(corpus.pixels(3))
    return corpus.pillow(kind, first, save_all=True, append_images=[second, last], **options)


@pytest.mark.parametrize("kind", ["PNG", "MPO", "TIFF", "WEBP", "GIF", "AVIF"])
def test_any_of_several_pictures(tmp_path, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    if kind == "AVIF":
        options = {"quality": 100, "subsampling": "4:4:4"}
    path = tmp_path / f"in.{kind.lower()}"
    path.write_bytes(numbered(kind, **options))
    for frame in (1, 2, 3):
        photo = read_photo(path, frame)
        assert (photo.frame, photo.frames, photo.pixels.dtype) == (frame, 3, np.uint8)
        with Image.open(path) as image:
            image.seek(frame - 1)
            assert np.array_equal(photo.pixels[..., :3], np.asarray(image.convert("RGB")))
    noise = read_photo(path, 2).pixels[..., :3].astype(int)
    if kind in ("PNG", "TIFF", "WEBP"):
        assert np.array_equal(noise, corpus.pixels(3))
    assert read_mask(path, MaskRule(threshold=128, frame=2)).share < 1
    for reading in (
        lambda: read_photo(path, 4),
        lambda: read_mask(path, MaskRule(threshold=128, frame=4)),
    ):
        with pytest.raises(UserError, match=f"{path} holds 3 pictures, and no number 4"):
            reading()


def test_pages_keep_their_own_depth_and_orientation(tmp_path):
    """Of 16 bits, which OpenCV reads; the second lies on its side."""
    pages = [corpus.pixels(1, np.uint16), corpus.pixels(1, np.uint16)[::-1].copy()]
    path = tmp_path / "in.tif"
    images = [Image.fromarray(page) for page in pages]
    for number, image in enumerate(images):
        image.encoderinfo = {"exif": corpus.exif(6 if number else 1)}
    images[0].save(path, save_all=True, append_images=images[1:])
    assert np.array_equal(read_photo(path, 1).pixels[..., 0], pages[0])
    second = read_photo(path, 2)
    assert second.frames == 2 and second.pixels.dtype == np.uint16
    assert np.array_equal(second.pixels[..., 0], np.rot90(pages[1], -1))


def test_frames_of_an_animation_of_16_bits_but_the_first_are_refused(tmp_path):
    plain = corpus.png16(3)
    control = struct.pack(">IIIIIHHBB", 0, corpus.WIDTH, corpus.HEIGHT, 0, 0, 1, 10, 0, 0)
    made = plain[:33], plain[33:-12]
    later = io.BytesIO()
    _write_chunk(later, b"fcTL", struct.pack(">I", 1) + control[4:])
    _write_chunk(later, b"fdAT", struct.pack(">I", 2) + made[1][8:-4])
    before = io.BytesIO()
    _write_chunk(before, b"acTL", struct.pack(">II", 2, 0))
    _write_chunk(before, b"fcTL", control)
    path = tmp_path / "in.png"
    path.write_bytes(made[0] + before.getvalue() + made[1] + later.getvalue() + plain[-12:])
    photo = read_photo(path)
    assert photo.frames == 2 and np.array_equal(photo.pixels, corpus.pixels(3, np.uint16))
    with pytest.raises(UserError, match="animated with 16 bits per channel"):
        read_photo(path, 2)


def test_a_picture_for_programs_that_show_no_animation_counts(tmp_path):
    """As Pillow counts: it comes first, and the animation's own behind it."""
    path = tmp_path / "in.png"
    path.write_bytes(numbered("PNG", default_image=True))
    assert Image.open(path).n_frames == read_photo(path).frames == 3
    assert np.array_equal(read_photo(path, 2).pixels, corpus.pixels(3))


def in_colour(pixels: np.ndarray) -> np.ndarray:
    """RGB or RGBA, since WebP holds no grey."""
    return pixels[..., {1: [0, 0, 0], 2: [0, 0, 0, 1], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[
        pixels.shape[2]]]  # fmt: skip


def test_written_and_read_again(file, tmp_path):
    """Pixels come back, and so does everything that is not named as lost."""
    try:
        photo = read_photo(file)
    except UserError as error:
        assert str(error).startswith(str(file)) and "\n" not in str(error)
        return
    for ending in ("png", "tif", "webp", "bmp", "jpg"):
        path = tmp_path / f"out.{ending}"
        try:
            check_output(photo, path)
        except UserError:
            continue
        write_photo(photo, path)
        again, lost = read_photo(path), "; ".join(losses(photo, path))
        if ending != "jpg":
            assert again.full == photo.full
            assert np.array_equal(in_colour(again.pixels), in_colour(photo.pixels))
        if photo.has_alpha and "fourth channel" not in lost:
            assert again.alpha == photo.alpha
        assert again.frames == 1 and not again.changed
        assert again.icc == (None if "profile" in lost else photo.icc)
        if not (ending == "tif" and photo.about.density):  # whose tags stand among EXIF's own
            assert (again.exif is None) == (photo.exif is None or "EXIF" in lost)
        assert again.about.xmp == (None if "XMP" in lost else photo.about.xmp)
        kept = {"Comment"} if ending == "jpg" else set() if "text" in lost else None
        texts = [t for t in photo.about.texts if kept is None or t[0] in kept]
        assert list(again.about.texts) == ([] if "comment" in lost else texts)
        if photo.about.density and "resolution" not in lost:
            assert again.about.density is not None
            # JPEG and BMP hold whole numbers, an inch of 0.0254 m.
            expected = photo.about.density.per_inch()
            assert np.allclose(again.about.density.per_inch(), expected, rtol=0.005)
        if ending == "png":
            assert again.about.colour == photo.about.colour
        assert "damaged" not in "; ".join(again.about.others)


@pytest.mark.parametrize("name", [n for n in corpus.PHOTOS if "profile" in n])
def test_profiles_are_read_whole(tmp_path, name):
    ending, write = corpus.PHOTOS[name]
    (tmp_path / f"in.{ending}").write_bytes(write())
    photo = read_photo(tmp_path / f"in.{ending}")
    assert photo.icc == corpus.SRGB + bytes(3_000_000 if "3 MB" in name else 0)


def test_the_orientation_in_xmp_is_that_of_the_pixels(tmp_path):
    (tmp_path / "in.jpg").write_bytes(corpus.PHOTOS["JPEG with profile, EXIF, XMP"][1]())
    photo = read_photo(tmp_path / "in.jpg")
    assert photo.about.xmp == corpus.XMP.replace(b'Orientation="6"', b'Orientation="1"')


def test_every_file_as_a_photo_and_as_a_mask_of_a_comparison(file, tmp_path):
    """What rethined-export and rethined-parity do with a user's photo and mask."""
    hole = np.zeros((corpus.HEIGHT, corpus.WIDTH), np.uint8)
    hole[12:20, 14] = 255
    Image.fromarray(hole).save(tmp_path / "hole.png")
    for photo, mask, rule in (
        (file, tmp_path / "hole.png", MaskRule()),
        (tmp_path / "hole.png", file, MaskRule()),
        (tmp_path / "hole.png", file, MaskRule(threshold=128)),
    ):
        try:
            scene = user_scene(photo, mask, Window.square(16), rule)
        except UserError as error:
            assert str(file) in str(error) and "\n" not in str(error)
            continue
        assert scene.image.isfinite().all()
        assert 0 < scene.mask.mean() < 1


def test_every_photo_is_refused_as_a_mask(file):
    """They are noise, but for one that has two values only."""
    if "1_bit" in file.name:
        assert 0 < read_mask(file).share < 1
        return
    with pytest.raises(UserError) as caught:
        read_mask(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("name", corpus.OTHERS)
def test_what_is_no_photo_is_named(name, tmp_path):
    data, said = corpus.OTHERS[name]
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    for read in (read_photo, read_mask):
        with pytest.raises(UserError) as caught:
            read(path)
        assert said in str(caught.value) and str(caught.value).startswith(f"{path} ")
        assert "\n" not in str(caught.value)


def test_the_table_in_the_documentation(tmp_path):
    """``RETHINED_WRITE_DOCS=1`` writes it."""
    head, _, rest = DOCS.read_text(encoding="utf-8").partition(BEGIN)
    before, _, tail = rest.partition(END)
    made = table.markdown(tmp_path)
    if os.environ.get("RETHINED_WRITE_DOCS"):
        DOCS.write_text(f"{head}{BEGIN}{made}{END}{tail}", encoding="utf-8")
        return
    assert before == made
