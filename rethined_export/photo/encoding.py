"""Photos as files: what each format can hold, and what of a photo it would lose."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin

from rethined_export.errors import UserError
from rethined_export.photo.photo import Alpha, Photo


@dataclass(frozen=True)
class Format:
    """What a format can hold.

    Attributes:
        keeps: of "profile", "exif", "xmp", "density", "text", "comment", "colour".
        alpha: none, or which kinds. sixteen: 16 bits per channel.
    """

    name: str
    keeps: frozenset[str]
    lossless: bool = True
    alpha: tuple[Alpha, ...] = ("straight",)
    sixteen: bool = False


def _keeps(words: str) -> frozenset[str]:
    return frozenset(words.split())


_PNG = Format("PNG", _keeps("profile exif xmp density text comment colour"), sixteen=True)
_TIFF = Format(
    "TIFF",
    _keeps("profile exif xmp density"),
    alpha=("straight", "premultiplied", "unspecified"),
    sixteen=True,
)
_JPEG = Format("JPEG", _keeps("profile exif xmp density comment"), lossless=False, alpha=())
FORMATS = {
    ".png": _PNG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".webp": Format("WEBP", _keeps("profile exif xmp")),
    ".bmp": Format("BMP", _keeps("density"), alpha=()),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
}
_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    # WebP's lossy mode always halves the colour resolution, which would change known pixels most;
    # `exact` keeps the colours of transparent ones.
    "WEBP": {"lossless": True, "exact": True},
}
_EXTRA_SAMPLES: dict[Alpha, int] = {"unspecified": 0, "premultiplied": 1, "straight": 2}
_PNG_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
#: What Pillow writes of a PNG's colour chunks.
_PILLOWS_COLOUR = (b"gAMA", b"cHRM", b"cICP", b"sRGB")
_XMP = 700  # TIFF tag
_LARGEST_TIFF = (1 << 32) - (1 << 27)  # with room for tags before the pixels


def format_of(path: Path) -> Format:
    """By the name's ending.

    Raises:
        UserError: none that is written.
    """
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise UserError(
            f"cannot tell the format of {path} from its ending; use one of {', '.join(FORMATS)}"
        ) from None


def losses(photo: Photo, path: Path) -> tuple[str, ...]:
    """What a photo says and a file of that name could not, in words."""
    kind, about = format_of(path), photo.about
    comments = [key for key, _ in about.texts if key == "Comment"]
    texts = [key for key, _ in about.texts if key != "Comment"]
    colour = [name for name, _ in about.colour if _colour_is_lost(photo, name, kind)]
    present = {
        "profile": "the colour profile" if photo.icc else "",
        "exif": "EXIF" if photo.exif else "",
        "xmp": "XMP" if about.xmp else "",
        "comment": "the comment" if comments else "",
        "text": f"text ({', '.join(texts)})" if texts else "",
    }
    lost = [words for what, words in present.items() if words and what not in kind.keeps]
    if about.density and ("density" not in kind.keeps or _shape_is_lost(photo, kind)):
        lost.append("the resolution (dots per inch)")
    if colour:
        names = ", ".join(name.decode() for name in colour)
        lost.append(f"{names}, without which colours may look different")
    if photo.has_alpha and photo.alpha not in kind.alpha and kind.alpha:
        lost.append("that its fourth channel may be none of transparency")
    return (*lost, *about.others)


def _shape_is_lost(photo: Photo, kind: Format) -> bool:
    """Whether pixels that are not square, of no stated size, become so."""
    assert photo.about.density is not None
    by_hand = kind.name == "TIFF" or photo.full > 255
    return photo.about.density.unit == "none" and not by_hand


def _colour_is_lost(photo: Photo, name: bytes, kind: Format) -> bool:
    if name == b"sRGB":  # what everything takes for granted
        return False
    told = photo.icc or any(other == b"sRGB" for other, _ in photo.about.colour)
    if name in (b"gAMA", b"cHRM") and told:  # only there for readers that know nothing better
        return False
    return kind.name != "PNG" or (photo.full == 255 and name not in _PILLOWS_COLOUR)


def encode(photo: Photo, kind: Format, file: BinaryIO) -> None:
    """Write a photo that the format can hold.

    Raises:
        OSError: the system refuses. ValueError: of a size that the format cannot hold.
    """
    if kind.name == "PNG" and photo.full > 255:
        _encode_16_bit_png(photo, file)
    elif kind.name == "TIFF":
        _encode_tiff(photo, file)
    else:
        pixels = photo.pixels[..., 0] if photo.pixels.shape[2] == 1 else photo.pixels
        Image.fromarray(pixels).save(file, format=kind.name, **_options(photo, kind))


def _options(photo: Photo, kind: Format) -> dict[str, Any]:
    """For Pillow."""
    options = dict(_OPTIONS.get(kind.name, {}))
    about = photo.about
    if "profile" in kind.keeps and photo.icc:
        options["icc_profile"] = photo.icc
    if "exif" in kind.keeps and photo.exif:
        options["exif"] = photo.exif
    if kind.name == "PNG":
        options["pnginfo"] = _png_info(photo)
    elif about.xmp and "xmp" in kind.keeps:
        options["xmp"] = about.xmp
    if about.density and "density" in kind.keeps and about.density.unit != "none":
        options["dpi"] = about.density.per_inch()
    if "comment" in kind.keeps and (
        said := [text for key, text in about.texts if key == "Comment"]
    ):
        options["comment"] = "\n".join(said).encode()
    return options


# --- PNG -----------------------------------------------------------------------------------------


def _png_info(photo: Photo) -> PngImagePlugin.PngInfo:
    """What Pillow takes as chunks; it writes the resolution itself."""
    info = PngImagePlugin.PngInfo()
    for name, body in _chunks(photo):
        if name in (*_PILLOWS_COLOUR, b"iTXt", b"tEXt"):
            info.add(name, body)
    return info


def _chunks(photo: Photo) -> list[tuple[bytes, bytes]]:
    """What stands between a PNG's header and its pixels, but profile and EXIF."""
    about = photo.about
    # A profile and sRGB must not stand side by side.
    made = [(n, body) for n, body in about.colour if not (n == b"sRGB" and photo.icc)]
    if about.density is not None:
        unit = int(about.density.unit != "none")
        made.append((b"pHYs", struct.pack(">IIB", *about.density.per_metre(), unit)))
    if about.xmp is not None:
        made.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + about.xmp))
    for key, text in about.texts:
        name = key.encode("latin-1", "replace")[:79]
        try:
            made.append((b"tEXt", name + b"\0" + text.encode("latin-1")))
        except UnicodeEncodeError:
            made.append((b"iTXt", name + b"\0\0\0\0\0" + text.encode()))
    return made


def _encode_16_bit_png(photo: Photo, file: BinaryIO) -> None:
    """PNG by hand: Pillow has no 16-bit colour, OpenCV no grey with alpha and no profile."""
    height, width, channels = photo.pixels.shape
    step = 2 * channels  # bytes per pixel
    rows = np.ascontiguousarray(photo.pixels, dtype=">u2").view(np.uint8).reshape(height, -1)
    # Filter 1 of the format: each byte less the same byte of the pixel to its left.
    filtered = np.empty((height, 1 + width * step), np.uint8)
    filtered[:, 0] = 1
    filtered[:, 1 : 1 + step] = rows[:, :step]
    np.subtract(rows[:, step:], rows[:, :-step], out=filtered[:, 1 + step :])
    header = struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOUR_TYPES[channels], 0, 0, 0)
    file.write(b"\x89PNG\r\n\x1a\n")
    _write_chunk(file, b"IHDR", header)
    if photo.icc:
        _write_chunk(file, b"iCCP", b"ICC Profile\0\0" + zlib.compress(photo.icc))
    for name, body in _chunks(photo):
        _write_chunk(file, name, body)
    if photo.exif:
        _write_chunk(file, b"eXIf", photo.exif.removeprefix(b"Exif\0\0"))
    _write_chunk(file, b"IDAT", zlib.compress(filtered.data))
    _write_chunk(file, b"IEND", b"")


def _write_chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind)
    file.write(data)
    file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))


# --- TIFF ----------------------------------------------------------------------------------------


def _encode_tiff(photo: Photo, file: BinaryIO) -> None:
    """An uncompressed TIFF of one strip, by hand for the same reasons as PNG."""
    if photo.pixels.nbytes > _LARGEST_TIFF:
        raise ValueError("a TIFF holds 4 GB at most")
    height, width, channels = photo.pixels.shape
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    if photo.exif:
        exif = Image.Exif()
        exif.load(photo.exif)
        groups = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
        for tag in exif:
            tags[tag] = exif.get_ifd(tag) if tag in groups else exif[tag]
    if photo.about.density is not None:
        density = photo.about.density
        x, y = (density.x, density.y) if density.unit == "none" else density.per_inch()
        tags[TiffImagePlugin.X_RESOLUTION], tags[TiffImagePlugin.Y_RESOLUTION] = x, y
        tags[TiffImagePlugin.RESOLUTION_UNIT] = 1 if density.unit == "none" else 2
    if photo.about.xmp is not None:
        tags[_XMP] = photo.about.xmp
    tags[TiffImagePlugin.IMAGEWIDTH] = width
    tags[TiffImagePlugin.IMAGELENGTH] = height
    tags[TiffImagePlugin.BITSPERSAMPLE] = (8 * photo.pixels.itemsize,) * channels
    tags[TiffImagePlugin.COMPRESSION] = 1  # none
    tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 1 if channels < 3 else 2  # grey or RGB
    tags[TiffImagePlugin.SAMPLESPERPIXEL] = channels
    tags[TiffImagePlugin.ROWSPERSTRIP] = height
    tags[TiffImagePlugin.STRIPBYTECOUNTS] = photo.pixels.nbytes
    tags[TiffImagePlugin.STRIPOFFSETS] = 0  # from the end of the tags, where the pixels go
    if photo.has_alpha:
        tags[TiffImagePlugin.EXTRASAMPLES] = _EXTRA_SAMPLES[photo.alpha]
    if photo.icc:
        tags[TiffImagePlugin.ICCPROFILE] = photo.icc
    tags.save(file)
    little = photo.pixels.dtype.newbyteorder("<")
    file.write(np.ascontiguousarray(photo.pixels, dtype=little).data)
