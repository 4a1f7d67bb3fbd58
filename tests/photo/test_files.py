"""Photos and masks: what is read, what is written, and how bad files are refused."""

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps

from rethined_export import errors
from rethined_export.errors import UserError
from rethined_export.photo import opening
from rethined_export.photo.files import (
    Photo,
    check_output,
    is_lossless,
    read_mask,
    read_photo,
    write_photo,
)

PHOTOS = sorted((Path(__file__).parents[1] / "data" / "photos").glob("*.jpg"))
CHELSEA = next(path for path in PHOTOS if path.stem == "chelsea")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    full = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, full, shape, dtype, endpoint=True)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


# --- Reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.stem)
def test_real_photos_read_as_pillow_decodes_them(path):
    photo = read_photo(path)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert np.array_equal(photo.pixels.squeeze(), upright)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
def test_orientation_is_applied_and_then_reset(tmp_path, orientation, ending):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Artist] = "A. Painter"
    lossless = {"lossless": True} if ending == "webp" else {}
    picture = Image.open(CHELSEA).crop((0, 0, 31, 17))
    path = saved(tmp_path / f"in.{ending}", picture, exif=exif, **lossless)

    photo = read_photo(path)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert np.array_equal(photo.pixels, upright)
    assert (photo.width, photo.height) == ((31, 17) if orientation < 5 else (17, 31))

    write_photo(photo, tmp_path / "out.png")
    again = Image.open(tmp_path / "out.png")
    assert np.array_equal(np.asarray(again), upright)
    assert again.getexif().get(ExifTags.Base.Orientation, 1) == 1
    assert again.getexif()[ExifTags.Base.Artist] == "A. Painter"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_orientation_of_16_bit_photos(tmp_path, orientation, ending, channels):
    stored = noise(5, 7, channels, dtype=np.uint16)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"in.{ending}"
    write_photo(Photo(stored, exif=exif.tobytes()), path)
    upright = [
        ImageOps.exif_transpose(oriented(plane, orientation)) for plane in np.moveaxis(stored, 2, 0)
    ]
    expected = np.stack([np.asarray(plane) for plane in upright], axis=2)
    assert np.array_equal(read_photo(path).pixels, expected)


def oriented(plane: np.ndarray, orientation: int) -> Image.Image:
    image = Image.fromarray(plane.astype(np.int32))
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return image


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("1", 1), ("L", 1), ("LA", 2), ("P", 3), ("RGB", 3), ("RGBA", 4), ("CMYK", 3), ("YCbCr", 3)],
)
def test_modes(tmp_path, mode, channels):
    picture = Image.open(CHELSEA).resize((20, 10)).convert(mode)
    path = saved(tmp_path / ("in.tif" if mode in ("CMYK", "YCbCr") else "in.png"), picture)
    photo = read_photo(path)
    assert photo.pixels.shape == (10, 20, channels)
    assert photo.pixels.dtype == np.uint8
    plain = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    assert np.array_equal(photo.pixels.squeeze(), np.asarray(Image.open(path).convert(plain)))
    assert photo.has_alpha == (channels in (2, 4))


def test_transparency_of_a_palette_and_of_a_key_colour_becomes_alpha(tmp_path):
    palette = Image.fromarray(noise(6, 6, 3)).quantize(8)
    assert read_photo(saved(tmp_path / "p.png", palette, transparency=3)).pixels.shape == (6, 6, 4)
    grey = Image.fromarray(np.full((6, 6), 9, np.uint8))
    photo = read_photo(saved(tmp_path / "l.png", grey, transparency=9))
    assert np.array_equal(np.unique(photo.pixels.reshape(-1, 2), axis=0), [[9, 0]])


def test_first_frame_of_several(tmp_path):
    first, second = (Image.new("RGB", (4, 3), colour) for colour in ("red", "blue"))
    path = saved(tmp_path / "in.tif", first, save_all=True, append_images=[second])
    assert np.array_equal(read_photo(path).pixels[0, 0], [255, 0, 0])


def test_white_is_zero_tiff_in_16_bits(tmp_path):
    path = tmp_path / "in.tif"
    stored = noise(5, 7, 1, dtype=np.uint16)
    write_photo(Photo(stored), path)
    entry = b"\x06\x01\x03\x00\x01\x00\x00\x00"  # tag 262, one short: the photometric meaning
    data = path.read_bytes()
    assert data.count(entry + b"\x01") == 1
    path.write_bytes(data.replace(entry + b"\x01", entry + b"\x00"))
    assert np.array_equal(read_photo(path).pixels, 65535 - stored)


# --- Round trips ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "channels", "ending"),
    [
        (dtype, channels, ending)
        for dtype in (np.uint8, np.uint16)
        for channels in (1, 2, 3, 4)
        for ending in (".png", ".tif")
        if (dtype, channels, ending) != (np.uint16, 2, ".tif")  # refused, see below
    ],
)
def test_round_trip_keeps_pixels_profile_and_exif(tmp_path, dtype, channels, ending):
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "A. Painter"
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.ISOSpeedRatings: 200}
    photo = Photo(noise(5, 7, channels, dtype=dtype), icc=SRGB, exif=exif.tobytes())
    path = tmp_path / f"out{ending}"
    write_photo(photo, path)
    again = read_photo(path)
    assert again.pixels.dtype == dtype
    assert np.array_equal(again.pixels, photo.pixels)
    assert again.icc == SRGB
    opened = Image.open(path)  # and other readers agree
    assert opened.info["icc_profile"] == SRGB
    assert opened.getexif()[ExifTags.Base.Artist] == "A. Painter"
    assert opened.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 200
    write_photo(again, tmp_path / f"twice{ending}")
    assert (tmp_path / f"twice{ending}").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("ending", "channels"), [(".bmp", 1), (".bmp", 3), (".webp", 4)])
def test_other_lossless_formats(tmp_path, ending, channels):
    photo = Photo(noise(9, 5, channels), icc=SRGB)
    write_photo(photo, tmp_path / f"out{ending}")
    assert is_lossless(f"out{ending}")
    assert np.array_equal(read_photo(tmp_path / f"out{ending}").pixels, photo.pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_lossy_but_close(tmp_path, channels):
    pixels = read_photo(CHELSEA).pixels[:64, :64, :channels]
    write_photo(Photo(pixels, icc=SRGB), tmp_path / "out.JPG")
    again = read_photo(tmp_path / "out.JPG")
    assert not is_lossless("out.JPG")
    assert again.pixels.shape == pixels.shape
    assert again.icc == SRGB
    assert np.abs(again.pixels.astype(int) - pixels).mean() < 2
    if channels == 3:
        assert Image.open(tmp_path / "out.JPG").layer[0][1:3] == (1, 1)  # 4:4:4


def test_a_thumbnail_of_what_was_removed_is_not_kept(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.IFD.Exif] = {
        ExifTags.Base.MakerNote: b"preview",
        ExifTags.Base.ExifImageWidth: 9999,
        ExifTags.Base.ExifImageHeight: 9999,
    }
    photo = read_photo(saved(tmp_path / "in.jpg", Image.new("RGB", (6, 4)), exif=exif))
    write_photo(photo, tmp_path / "out.jpg")
    data = (tmp_path / "out.jpg").read_bytes()
    assert b"Maker" in data
    assert b"preview" not in data
    kept = Image.open(tmp_path / "out.jpg").getexif().get_ifd(ExifTags.IFD.Exif)
    assert kept == {ExifTags.Base.ExifImageWidth: 6, ExifTags.Base.ExifImageHeight: 4}


def test_cmyk_profile_is_not_left_on_rgb_pixels(tmp_path):
    cmyk = Image.new("CMYK", (4, 4), (10, 20, 30, 40))
    photo = read_photo(saved(tmp_path / "in.jpg", cmyk, icc_profile=SRGB))
    assert photo.icc is None
    assert photo.pixels.shape == (4, 4, 3)


def test_damaged_exif_is_no_reason_to_refuse(tmp_path):
    exif = b"Exif\0\0II*\0\xff\xff\xff\x7f"
    path = saved(tmp_path / "in.jpg", Image.new("RGB", (6, 4)), exif=exif)
    assert read_photo(path).exif is None


def test_the_largest_photo_of_the_model_reads_without_a_warning(tmp_path, recwarn):
    path = saved(tmp_path / "in.png", Image.new("1", (8192, 8192)))
    assert read_photo(path).pixels.shape == (8192, 8192, 1)
    assert not recwarn.list


# --- Files that cannot be read -------------------------------------------------------------------


def refuses(path: Path, *words: str) -> None:
    for read in (read_photo, read_mask):
        with pytest.raises(UserError) as caught:
            read(path)
        message = str(caught.value)
        assert str(path) in message
        assert "\n" not in message
        for word in words:
            assert word in message


def test_missing_directory_empty_and_text(tmp_path):
    refuses(tmp_path / "none.png", "does not exist")
    refuses(tmp_path, "is a directory")
    (tmp_path / "empty.png").touch()
    refuses(tmp_path / "empty.png", "empty (0 bytes)")
    (tmp_path / "text.png").write_text("not a photo at all\n")
    refuses(tmp_path / "text.png", "not a readable image")


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif"])
def test_truncated(tmp_path, ending, keep):
    path = saved(tmp_path / f"in.{ending}", Image.open(CHELSEA))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    # A container that states its length is refused on opening, the others on decoding.
    refuses(path)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_truncated_16_bit(tmp_path, ending):
    path = tmp_path / f"in.{ending}"
    write_photo(Photo(noise(50, 70, 3, dtype=np.uint16)), path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    refuses(path, "damaged or cut short")


@pytest.mark.parametrize("ending", ["tif", "gif", "webp"])
def test_truncated_files_of_several_pictures(tmp_path, ending):
    path = tmp_path / f"in.{ending}"
    others = [Image.fromarray(noise(40, 60, 3)) for _ in range(2)]
    Image.fromarray(noise(40, 60, 3)).save(path, save_all=True, append_images=others)
    data = path.read_bytes()
    for keep in range(10, len(data), len(data) // 40):
        path.write_bytes(data[:keep])
        for read in (read_photo, read_mask):
            with contextlib.suppress(UserError):
                read(path)


def claiming(width: int, height: int, mode: str = "RGB") -> bytes:
    """A small PNG that says it is large."""
    file = io.BytesIO()
    Image.new(mode, (8, 8)).save(file, "PNG")
    data = bytearray(file.getvalue())
    struct.pack_into(">II", data, 16, width, height)
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    return bytes(data)


def test_a_small_file_may_not_claim_all_memory(tmp_path):
    path = tmp_path / "in.png"
    path.write_bytes(claiming(40000, 30000))
    refuses(path, "1200 million pixels (40000x30000)", "made to fill the memory")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_masks_of_the_largest_phones_pack_well_and_are_no_bombs(mode, monkeypatch):
    """200 million pixels, white on black, are 45 to 800 kB as a PNG."""
    monkeypatch.setattr(opening, "_room", lambda: 10**10)
    assert opening.open_lazily(claiming(16320, 12240, mode), Path("mask.png")).width == 16320


@pytest.mark.parametrize("mode", ["I;16", "RGB"])
def test_what_is_decoded_twice_counts_twice(mode, monkeypatch):
    """16 bits a channel are read beside Pillow's 8."""
    data = bytearray(claiming(9000, 9000, mode))
    data[24] = 16
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    monkeypatch.setattr(opening, "_room", lambda: 10**10)
    with pytest.raises(UserError, match="made to fill the memory"):
        opening.open_lazily(bytes(data), Path("in.png"))


def test_a_gif_of_93_bytes_that_unpacks_to_gigabytes(tmp_path):
    """Which no decoder calls damaged: what is missing stays empty."""
    path = tmp_path / "in.gif"
    small = io.BytesIO()
    Image.new("P", (8, 8)).save(small, "GIF")
    data = bytearray(small.getvalue())
    struct.pack_into("<HH", data, 6, 16920, 20557)
    path.write_bytes(data)
    refuses(path, "348 million pixels", "made to fill the memory")


def test_a_photo_larger_than_the_free_memory(tmp_path, monkeypatch):
    path = saved(tmp_path / "in.png", Image.new("RGB", (100, 100)))
    monkeypatch.setattr(opening, "_room", lambda: 70_000)
    refuses(path, "which take 0.0 GB to read", "memory are free")


def test_phones_make_200_million_pixels(tmp_path):
    """Read on, though its pixels are missing: the size alone is no reason to refuse."""
    path = tmp_path / "in.png"
    path.write_bytes(claiming(16320, 12240) + bytes(4_000_000))
    refuses(path, "damaged or cut short")


def test_32_bit_pixels(tmp_path):
    with pytest.raises(UserError, match="32-bit"):
        read_photo(saved(tmp_path / "in.tif", Image.new("F", (4, 4))))


# --- Files that cannot be written ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "dtype", "name", "words"),
    [
        ((4, 4, 4), np.uint8, "out.jpg", "transparency; write .png, .tif or .webp"),
        ((4, 4, 2), np.uint8, "out.bmp", "transparency"),
        ((4, 4, 3), np.uint16, "out.jpg", "16 bits per channel; write .png or .tif"),
        ((4, 4, 3), np.uint16, "out.webp", "16 bits"),
        ((4, 4, 2), np.uint16, "out.tif", "write .png"),
        ((4, 4, 3), np.uint8, "out.gif", "use one of .png"),
        ((4, 4, 3), np.uint8, "out", "use one of .png"),
        ((4, 4, 3), np.uint8, ".", "is a directory"),
    ],
)
def test_outputs_that_cannot_hold_the_photo(tmp_path, shape, dtype, name, words):
    photo = Photo(noise(*shape, dtype=dtype))
    for attempt in (check_output, write_photo):
        with pytest.raises(UserError, match=words) as caught:
            attempt(photo, tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", ["open", "encode", "replace"])
def test_a_failed_write_leaves_the_folder_as_it_was(tmp_path, monkeypatch, step):
    def full_disk(*_args, **_options):
        raise OSError(28, "No space left on device")

    target = {"open": (Path, "open"), "encode": (Image.Image, "save"), "replace": (Path, "replace")}
    (tmp_path / "out.png").write_bytes(b"before")
    with monkeypatch.context() as patch, pytest.raises(UserError) as caught:
        patch.setattr(*target[step], full_disk)
        write_photo(Photo(noise(4, 4, 3)), tmp_path / "out.png")
    assert "No space left on device" in str(caught.value)
    assert str(tmp_path / "out.png") in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
    assert (tmp_path / "out.png").read_bytes() == b"before"


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(self, file, **_options):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_photo(Photo(noise(4, 4, 3)), tmp_path / "out.png")
    assert not list(tmp_path.iterdir())


def test_what_is_replaced_keeps_its_permissions_and_a_link_stays_one(tmp_path):
    (tmp_path / "real.png").write_bytes(b"old")
    (tmp_path / "real.png").chmod(0o640)
    (tmp_path / "link.png").symlink_to("real.png")
    write_photo(Photo(noise(4, 4, 3)), tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").stat().st_mode & 0o777 == 0o640
    assert read_photo(tmp_path / "real.png").width == 4


def test_a_size_the_format_cannot_hold(tmp_path):
    with pytest.raises(UserError, match=r"cannot write .*out\.webp"):
        write_photo(Photo(np.zeros((1, 16384, 3), np.uint8)), tmp_path / "out.webp")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"):
        write_photo(Photo(noise(4, 4, 3)), tmp_path / "out.png")


def test_write_replaces_and_leaves_nothing_else(tmp_path):
    for value in (1, 2):
        write_photo(Photo(np.full((3, 3, 1), value, np.uint8)), tmp_path / "out.png")
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
    assert read_photo(tmp_path / "out.png").pixels.max() == 2


def test_exit_codes():
    kinds = (UserError, errors.ParityError, errors.OperatorError, errors.UnavailableError)
    assert [kind.exit_code for kind in kinds] == [2, 3, 5, 6]
    assert all(issubclass(kind, UserError) for kind in kinds)
