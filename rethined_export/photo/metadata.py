"""What a photo's file says beside its pixels, and whatever of it cannot be carried on, by name.

The formats are walked through here block by block, so that a block nobody thought of is named and
not lost in silence.
"""

from __future__ import annotations

import contextlib
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace

from PIL import ExifTags, Image, TiffImagePlugin
from PIL.TiffTags import TAGS_V2

from rethined_export.photo.opening import png_chunks
from rethined_export.photo.photo import Density, Metadata

#: A profile, a text or a packet unpacks to at most this many bytes.
_LARGEST = 64 << 20
PNG_COLOUR = (b"gAMA", b"cHRM", b"cICP", b"sRGB", b"mDCV", b"cLLI")
#: PNG's: pixels, animation, what is read elsewhere, and when the old file was saved.
_PNG_KNOWN = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT", b"iCCP",
              b"eXIf", b"tIME", b"iDOT")  # fmt: skip
_XMP_KEY = "XML:com.adobe.xmp"
_JPEG_XMP, _JPEG_XMP_MORE = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/"
_WEBP_KNOWN = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP ")
#: TIFF tags that say how the old file was laid out; pixels, profile, EXIF and XMP are read apart.
_TIFF_KNOWN = {
    254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 274, 277, 278, 279, 280, 281, 282, 283, 284,
    285, 286, 287, 288, 289, 290, 291, 292, 293, 296, 297, 317, 320, 322, 323, 324, 325, 330, 332,
    338, 339, 340, 341, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 700,
    34665, 34675, 34853,
}  # fmt: skip
KEPT_TAGS = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.XResolution,
    ExifTags.Base.YResolution,
    ExifTags.Base.ResolutionUnit,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
)
# A maker note is a vendor's block whose offsets break when it moves and which may hold a preview;
# interoperability data only says how the original file was laid out.
_DROPPED_TAGS = (ExifTags.Base.MakerNote, ExifTags.IFD.Interop)


def read_metadata(image: Image.Image, data: bytes) -> Metadata:
    """Of a loaded image, `data` being its file. Damaged metadata is no reason to refuse a photo."""
    readers: dict[str | None, Callable[[Image.Image, bytes], Metadata]] = {
        "PNG": _of_png, "JPEG": _of_jpeg, "MPO": _of_jpeg, "TIFF": _of_tiff, "WEBP": _of_webp,
    }  # fmt: skip
    try:
        about = readers.get(image.format, _of_other)(image, data)
    except Exception:  # whatever Pillow or struct make of it
        return Metadata(others=("damaged metadata",))
    return _without_old_picture(about)


def icc_profile(image: Image.Image, data: bytes) -> bytes | None:
    """The colour profile; a PNG's may have any size, and Pillow reads none of a BMP's."""
    if image.format == "BMP":
        return _bmp_profile(data)
    if image.format != "PNG":
        return image.info.get("icc_profile") or None
    for kind, start, end in png_chunks(data):
        if kind == b"iCCP":
            with contextlib.suppress(ValueError, zlib.error, IndexError):
                packed = data[start:end].split(b"\0", 1)[1][1:]
                return _unpacked(packed) or None
    return None


def _bmp_profile(data: bytes) -> bytes | None:
    """Embedded behind a header of version 5."""
    if len(data) < 138 or struct.unpack_from("<I", data, 14) != (124,) or data[70:74] != b"DEBM":
        return None
    start, size = struct.unpack_from("<II", data, 126)
    return data[14 + start : 14 + start + size] or None


def png_exif(data: bytes) -> bytes | None:
    """A PNG's EXIF block."""
    for kind, start, end in png_chunks(data):
        if kind == b"eXIf":
            return data[start:end]
    return None


def kept_exif(image: Image.Image, width: int, height: int) -> bytes | None:
    """What describes the picture, not its old file: no orientation, no thumbnail, no strip offsets.

    The thumbnail would still show what the user has removed. None where nothing is left.
    """
    kept = Image.Exif()
    with contextlib.suppress(Exception):
        source = image.getexif()
        kept.update({tag: source[tag] for tag in KEPT_TAGS if tag in source})
        for group in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            tags = {k: v for k, v in source.get_ifd(group).items() if k not in _DROPPED_TAGS}
            if ExifTags.Base.ExifImageWidth in tags:
                tags[ExifTags.Base.ExifImageWidth] = width
                tags[ExifTags.Base.ExifImageHeight] = height
            if tags:
                kept[group] = tags
        return kept.tobytes() if len(kept) else None
    return None  # damaged EXIF: the photo is worth more


# --- PNG -----------------------------------------------------------------------------------------


def _of_png(_image: Image.Image, data: bytes) -> Metadata:
    about = Metadata()
    for kind, start, end in png_chunks(data):
        body = data[start:end]
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            about = _with_text(about, kind, body)
        elif kind == b"pHYs" and len(body) == 9:
            x, y, unit = struct.unpack(">IIB", body)
            about = replace(about, density=Density(x, y, "metre" if unit == 1 else "none"))
        elif kind in PNG_COLOUR:
            about = replace(about, colour=(*about.colour, (kind, body)))
        elif kind not in _PNG_KNOWN:
            about = _and(about, f"PNG chunk {kind.decode('ascii', 'backslashreplace')}")
    return about


def _with_text(about: Metadata, kind: bytes, body: bytes) -> Metadata:
    name, _, rest = body.partition(b"\0")
    key = name.decode("latin-1")
    try:
        if kind == b"iTXt":
            packed, rest = rest[0], rest[2:]
            text = rest.split(b"\0", 2)[2]
            raw, code = (_unpacked(text) if packed else text), "utf-8"
        else:
            raw, code = (_unpacked(rest[1:]) if kind == b"zTXt" else rest), "latin-1"
        if key == _XMP_KEY:
            return replace(about, xmp=raw)
        if key.startswith("Raw profile type"):  # EXIF or IPTC in hexadecimal, thumbnail and all
            return _and(about, key)
        return replace(about, texts=(*about.texts, (key, raw.decode(code))))
    except (ValueError, IndexError, zlib.error):
        return _and(about, f"damaged text {key}")


def _unpacked(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    made = unpacker.decompress(packed, _LARGEST)
    if unpacker.unconsumed_tail:
        raise ValueError("too large")
    return made


# --- JPEG ----------------------------------------------------------------------------------------


def _of_jpeg(_image: Image.Image, data: bytes) -> Metadata:
    about = Metadata()
    for marker, body in _segments(data):
        if marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 12:
            unit, x, y = struct.unpack_from(">BHH", body, 7)
            if unit in (1, 2) or x != y:
                known = {1: "inch", 2: "cm"}
                about = replace(about, density=Density(x, y, known.get(unit, "none")))  # type: ignore[arg-type]
        elif marker == 0xE1 and body.startswith(_JPEG_XMP):
            about = replace(about, xmp=body[len(_JPEG_XMP) :])
        elif marker == 0xFE:
            text = body.rstrip(b"\0").decode("utf-8", "replace")
            about = replace(about, texts=(*about.texts, ("Comment", text)))
        elif 0xE0 <= marker <= 0xEF and (name := _application(marker, body)):
            about = _and(about, name)
    return about


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and body of each segment before the pixels."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xDA:  # start of scan
            return
        if marker == 0xFF:  # padding
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + max(length, 2)


def _application(marker: int, body: bytes) -> str:
    """A segment's name; none where it is read elsewhere or says how the old file was laid out."""
    if body.startswith((b"Exif\0", b"ICC_PROFILE\0", b"Adobe", b"MPF\0", b"JFXX\0", b"JFIF\0")):
        return ""
    if body.startswith(_JPEG_XMP_MORE):
        return "extended XMP"
    if body.startswith(b"Photoshop 3.0"):
        return "IPTC"
    if marker == 0xEB and b"jumb" in body[:64]:
        return "content credentials (C2PA)"
    return f"JPEG segment APP{marker - 0xE0}"


# --- TIFF, WebP and the rest ---------------------------------------------------------------------


def _of_tiff(image: Image.Image, _data: bytes) -> Metadata:
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    tags = image.tag_v2
    about = Metadata()
    if 282 in tags and 283 in tags and tags.get(296, 2) in (1, 2, 3):
        unit = {1: "none", 2: "inch", 3: "cm"}[tags.get(296, 2)]
        x, y = float(tags[282]), float(tags[283])
        if x > 0 and y > 0 and (unit != "none" or x != y):
            about = replace(about, density=Density(x, y, unit))  # type: ignore[arg-type]
    if isinstance(xmp := tags.get(700), bytes):
        about = replace(about, xmp=xmp)
    for tag in tags:
        if tag not in _TIFF_KNOWN and tag not in KEPT_TAGS:
            known = TAGS_V2.get(tag)
            named = {33723: "IPTC", 34377: "Photoshop's block"}.get(tag)
            about = _and(about, named or f"TIFF tag {tag}" + (f" ({known.name})" if known else ""))
    return about


def _of_webp(image: Image.Image, data: bytes) -> Metadata:
    about, at = _of_other(image, data), 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind not in _WEBP_KNOWN:
            about = _and(about, f"WebP chunk {kind.decode('ascii', 'backslashreplace')}")
        at += 8 + length + length % 2
    return about


def _of_other(image: Image.Image, data: bytes) -> Metadata:
    """By what Pillow says of it."""
    about = Metadata()
    if isinstance(xmp := image.info.get("xmp"), bytes):
        about = replace(about, xmp=xmp)
    if image.format in ("BMP", "DIB") and "dpi" in image.info:
        x, y = image.info["dpi"]
        if x > 0 and y > 0:
            about = replace(about, density=Density(x, y, "inch"))
    if (
        image.format == "JPEG2000"
        and b"colr\x02" in data[:4096]
        and "icc_profile" not in image.info
    ):
        about = _and(about, "the colour profile of a JPEG 2000")
    if image.format == "GIF" and isinstance(comment := image.info.get("comment"), bytes):
        about = replace(about, texts=(("Comment", comment.decode("utf-8", "replace")),))
    if image.format == "AVIF" and (at := data.find(b"colrnclx")) >= 0:
        # Colour primaries and transfer; sRGB's are what everything takes for granted.
        primaries, transfer = struct.unpack_from(">HH", data, at + 8)
        if (primaries, transfer) not in ((1, 13), (2, 2), (1, 1), (1, 6)):
            about = replace(about, colour=((b"cICP", bytes([primaries, transfer, 0, 1])),))
    return about


def _and(about: Metadata, other: str) -> Metadata:
    return about if other in about.others else replace(about, others=(*about.others, other))


def _without_old_picture(about: Metadata) -> Metadata:
    """XMP without what is no longer true: how the picture was turned, what it looked like."""
    if about.xmp is None:
        return about
    if re.search(rb"xmpGImg:image|xmp:Thumbnails|GImage:Data|GDepth:Data", about.xmp):
        return replace(_and(about, "XMP, since it holds the old picture"), xmp=None)
    upright = re.sub(rb"(tiff:Orientation\s*(?:=\s*[\"']|>\s*))[1-8]", rb"\g<1>1", about.xmp)
    return replace(about, xmp=upright)
