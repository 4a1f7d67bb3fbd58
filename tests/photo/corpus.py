"""Small files, one for each situation: what people feed the commands."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageCms, PngImagePlugin, TiffImagePlugin

from rethined_export.photo.encoding import _write_chunk

HEIGHT, WIDTH = 40, 48
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="r#"><rdf:Description '
    b'xmlns:tiff="t#" tiff:Orientation="6" tiff:Make="Maker"/></rdf:RDF></x:xmpmeta>'
)


def pixels(channels: int, dtype: type = np.uint8, white: int | None = None) -> np.ndarray:
    """Noise on a ramp, so that any mix-up of rows, columns, channels or bytes shows."""
    random = np.random.default_rng(channels)
    top = np.iinfo(dtype).max if white is None else white
    made = random.integers(0, top, (HEIGHT, WIDTH, channels), dtype, endpoint=True)
    return made[..., 0] if channels == 1 else made


def exif(orientation: int = 1) -> bytes:
    made = Image.Exif()
    made[ExifTags.Base.Artist] = "A. Painter"
    made[ExifTags.Base.Orientation] = orientation
    return made.tobytes()


def pillow(kind: str, image: np.ndarray | Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(file, kind, **options)
    return file.getvalue()


def opencv(ending: str, image: np.ndarray, *options: int) -> bytes:
    ordered = image[..., [2, 1, 0, 3][: image.shape[2]]] if image.ndim == 3 else image
    ok, made = cv2.imencode(ending, np.ascontiguousarray(ordered), options)
    assert ok
    return made.tobytes()


def png16(channels: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A 16-bit PNG with chunks before its pixels."""
    stored = pixels(channels, np.uint16).reshape(HEIGHT, WIDTH, channels).astype(">u2")
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = stored.view(np.uint8).reshape(HEIGHT, -1)
    body = np.concatenate([np.zeros((HEIGHT, 1), np.uint8), rows], axis=1).tobytes()
    file = io.BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n")
    _write_chunk(file, b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, colour, 0, 0, 0))
    for name, chunk in chunks:
        _write_chunk(file, name, chunk)
    _write_chunk(file, b"IDAT", zlib.compress(body))
    _write_chunk(file, b"IEND", b"")
    return file.getvalue()


def png8(*chunks: tuple[bytes, bytes]) -> bytes:
    """An 8-bit RGB PNG with chunks before its pixels."""
    plain = pillow("PNG", pixels(3))
    file = io.BytesIO()
    for name, chunk in chunks:
        _write_chunk(file, name, chunk)
    return plain[:33] + file.getvalue() + plain[33:]


def tiff(stored: np.ndarray, extra: tuple[int, ...] | None = None, **tags: Any) -> bytes:
    """One uncompressed strip; tags by number, as ``t262=5``."""
    stored = stored.reshape(HEIGHT, WIDTH, -1)
    channels = stored.shape[2]
    made = TiffImagePlugin.ImageFileDirectory_v2()
    values: dict[int, Any] = {
        256: WIDTH, 257: HEIGHT, 258: (8 * stored.itemsize,) * channels, 259: 1,
        262: 2 if channels > 2 else 1, 277: channels, 278: HEIGHT, 279: stored.nbytes, 273: 0,
    }  # fmt: skip
    values |= {int(name[1:]): value for name, value in tags.items()}
    if extra is not None:
        values[338] = extra
    for tag, value in values.items():
        made[tag] = value
    file = io.BytesIO()
    made.save(file)
    return file.getvalue() + stored.tobytes()


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    plain = pillow("JPEG", pixels(3), quality=95)
    added = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments
    )
    return plain[:2] + added + plain[2:]


def bmp_with_profile() -> bytes:
    """With a header of version 5."""
    rows = np.ascontiguousarray(pixels(3)[::-1, :, ::-1]).tobytes()
    at = 14 + 124
    header = struct.pack("<IiiHHIIiiII", 124, WIDTH, HEIGHT, 1, 24, 0, len(rows), 0, 0, 0, 0)
    header += (
        bytes(16) + b"DEBM" + bytes(48) + struct.pack("<IIII", 4, 124 + len(rows), len(SRGB), 0)
    )
    file = struct.pack("<2sIHHI", b"BM", at + len(rows) + len(SRGB), 0, 0, at)
    return file + header + rows + SRGB


def frames(kind: str) -> bytes:
    others = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "blue")]
    return pillow(kind, pixels(3), save_all=True, append_images=others)


def pnm(magic: bytes, stored: np.ndarray, white: int) -> bytes:
    head = b"%s\n# a comment\n%d %d\n%d\n" % (magic, WIDTH, HEIGHT, white)
    return head + stored.astype(">u2" if white > 255 else "u1").tobytes()


def text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "a boat")
    info.add_itxt("Author", "Ђорђе")
    return info


#: What is given for a photo and is none: its bytes, and what it is called.
OTHERS: dict[str, tuple[bytes, str]] = {
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "Git LFS pointer",
    ),
    "page": (b"\n<!DOCTYPE html><title>404</title>", "a web page"),
    "svg": (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), "a HEIC photo"),
    "jxl": (b"\xff\x0a" + bytes(100), "a JPEG XL"),
    "raw": (b"II*\0\x10\0\0\0CR\2\0" + bytes(100), "a camera's raw file"),
    "video": (b"\0\0\0\x18ftypisom" + bytes(100), "a video"),
    "exr": (b"v/1\1" + bytes(100), "floating-point colours"),
    "pam": (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 1\nMAXVAL 255\nENDHDR\n\0", "an unusual kind of PNM"),
    "tiff": (b"II*\0\x08\0\0\0" + bytes(100), "an unusual kind of TIFF"),
    "begun": (b"\x89PNG\r\n\x1a\n", "damaged or cut short"),
    "pdf": (b"%PDF-1.7\n", "a document"),
    "script": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "a document"),
    "zip": (b"PK\3\4" + bytes(30), "an archive"),
    "npy": (b"\x93NUMPY\1\0" + bytes(30), "a NumPy array"),
    "zeros": (bytes(1000), "a download that broke off"),
    "text": (b"a photo, honestly", "not a readable image"),
}

_AVIF10 = (cv2.IMWRITE_AVIF_DEPTH, 10, cv2.IMWRITE_AVIF_QUALITY, 100)
_JP2 = (cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000)
_PHYS = (b"pHYs", struct.pack(">IIB", 11811, 5906, 1))
_CHRM = (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
_GAMA = (b"gAMA", struct.pack(">I", 45455))
_CICP = (b"cICP", bytes([9, 16, 0, 1]))

#: What the table calls it: the file's ending and its bytes.
PHOTOS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "PNG, 1 bit": ("png", lambda: pillow("PNG", Image.fromarray(pixels(1)).convert("1"))),
    "PNG, grey": ("png", lambda: pillow("PNG", pixels(1))),
    "PNG, grey, one value transparent": ("png", lambda: pillow("PNG", pixels(1), transparency=9)),
    "PNG, grey and alpha": ("png", lambda: pillow("PNG", Image.fromarray(pixels(2), "LA"))),
    "PNG, palette": ("png", lambda: pillow("PNG", Image.fromarray(pixels(3)).quantize(16))),
    "PNG, palette, one colour transparent": (
        "png",
        lambda: pillow("PNG", Image.fromarray(pixels(3)).quantize(16), transparency=3),
    ),
    "PNG, RGB": ("png", lambda: pillow("PNG", pixels(3))),
    "PNG, RGBA": ("png", lambda: pillow("PNG", pixels(4))),
    "PNG, 16-bit grey": ("png", lambda: png16(1)),
    "PNG, 16-bit grey, one value transparent": (
        "png",
        lambda: png16(1, (b"tRNS", pixels(1, np.uint16)[3, 4:5].astype(">u2").tobytes())),
    ),
    "PNG, 16-bit grey and alpha": ("png", lambda: png16(2)),
    "PNG, 16-bit RGB": ("png", lambda: png16(3)),
    "PNG, 16-bit RGB, one colour transparent": (
        "png",
        lambda: png16(3, (b"tRNS", pixels(3, np.uint16)[3, 4].astype(">u2").tobytes())),
    ),
    "PNG, 16-bit RGBA": ("png", lambda: png16(4)),
    "PNG with profile, EXIF, XMP": (
        "png",
        lambda: png8(
            (b"iCCP", b"p\0\0" + zlib.compress(SRGB)),
            (b"eXIf", exif()[6:]),
            (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        ),
    ),
    "PNG with a profile of 3 MB": (
        "png",
        lambda: png8((b"iCCP", b"p\0\0" + zlib.compress(SRGB + bytes(3_000_000)))),
    ),
    "PNG with resolution": ("png", lambda: png8(_PHYS)),
    "PNG, 16-bit, with resolution": ("png", lambda: png16(3, _PHYS)),
    "PNG with text": ("png", lambda: pillow("PNG", pixels(3), pnginfo=text())),
    "PNG with gAMA and cHRM": ("png", lambda: png8(_CHRM, _GAMA)),
    "PNG with cICP (HDR)": ("png", lambda: png8(_CICP)),
    "PNG, 16-bit, with cICP (HDR)": ("png", lambda: png16(3, _CICP)),
    "PNG with a chunk of its own": ("png", lambda: png8((b"caBX", b"signed"))),
    "PNG, animated": ("png", lambda: frames("PNG")),
    "JPEG, grey": ("jpg", lambda: pillow("JPEG", pixels(1), quality=95)),
    "JPEG, RGB": ("jpg", lambda: pillow("JPEG", pixels(3), quality=95)),
    "JPEG, progressive": ("jpg", lambda: pillow("JPEG", pixels(3), progressive=True)),
    "JPEG, CMYK": ("jpg", lambda: pillow("JPEG", Image.fromarray(pixels(4), "CMYK"))),
    "JPEG with profile, EXIF, XMP": (
        "jpg",
        lambda: pillow("JPEG", pixels(3), icc_profile=SRGB, exif=exif(), xmp=XMP),
    ),
    "JPEG, lying on its side": ("jpg", lambda: pillow("JPEG", pixels(3), exif=exif(6))),
    "JPEG with resolution": ("jpg", lambda: pillow("JPEG", pixels(3), dpi=(300, 150))),
    "JPEG with a comment": ("jpg", lambda: pillow("JPEG", pixels(3), comment="a boat")),
    "JPEG with IPTC": (
        "jpg",
        lambda: jpeg_with((0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\4abcd")),
    ),
    "JPEG with content credentials": ("jpg", lambda: jpeg_with((0xEB, b"JP\0\0\0\0\0\1jumb"))),
    "JPEG with XMP that holds a thumbnail": (
        "jpg",
        lambda: pillow("JPEG", pixels(3), xmp=XMP.replace(b"tiff:Make", b"xmpGImg:image")),
    ),
    "JPEG of two pictures (MPO)": ("jpg", lambda: frames("MPO")),
    "TIFF, grey": ("tif", lambda: tiff(pixels(1))),
    "TIFF, grey, 0 is white": ("tif", lambda: tiff(pixels(1), t262=0)),
    "TIFF, RGB": ("tif", lambda: tiff(pixels(3))),
    "TIFF, RGB, packed (LZW)": (
        "tif",
        lambda: pillow("TIFF", pixels(3), compression="tiff_lzw", dpi=(300, 150)),
    ),
    "TIFF, RGBA": ("tif", lambda: tiff(pixels(4), (2,))),
    "TIFF, RGBA, multiplied by alpha": ("tif", lambda: tiff(pixels(4), (1,))),
    "TIFF, RGB and an unexplained channel": ("tif", lambda: tiff(pixels(4), (0,))),
    "TIFF, grey and an unexplained channel": ("tif", lambda: tiff(pixels(2), (0,))),
    "TIFF, five channels": ("tif", lambda: tiff(pixels(5), (0, 0))),
    "TIFF, CMYK": ("tif", lambda: tiff(pixels(4), t262=5)),
    "TIFF, LAB": ("tif", lambda: tiff(pixels(3), t262=8)),
    "TIFF, 16-bit grey": ("tif", lambda: tiff(pixels(1, np.uint16))),
    "TIFF, 16-bit RGB": ("tif", lambda: tiff(pixels(3, np.uint16))),
    "TIFF, 16-bit RGBA": ("tif", lambda: tiff(pixels(4, np.uint16), (2,))),
    "TIFF, 16-bit RGBA, multiplied by alpha": ("tif", lambda: tiff(pixels(4, np.uint16), (1,))),
    "TIFF, 16-bit RGB and an unexplained channel": (
        "tif",
        lambda: tiff(pixels(4, np.uint16), (0,)),
    ),
    "TIFF, 16-bit grey and alpha": ("tif", lambda: tiff(pixels(2, np.uint16), (2,))),
    "TIFF, 16-bit CMYK": ("tif", lambda: tiff(pixels(4, np.uint16), t262=5)),
    "TIFF, 16 bits with sign": ("tif", lambda: tiff(pixels(1, np.uint16), t339=2)),
    "TIFF, 8 bits with sign": ("tif", lambda: tiff(pixels(1), t339=2)),
    "TIFF, 32-bit floats, RGB": ("tif", lambda: tiff(pixels(3).astype(np.float32), t339=(3, 3, 3))),
    "TIFF, 32-bit numbers": ("tif", lambda: tiff(pixels(1, np.uint32))),
    "TIFF, 32-bit floats": ("tif", lambda: pillow("TIFF", pixels(1).astype(np.float32))),
    "TIFF with a tag of its own": ("tif", lambda: tiff(pixels(3), t33550=(1.0, 1.0, 0.0))),
    "TIFF of several pages": ("tif", lambda: frames("TIFF")),
    "WebP, RGB": ("webp", lambda: pillow("WEBP", pixels(3), lossless=True)),
    "WebP, RGBA": ("webp", lambda: pillow("WEBP", pixels(4), lossless=True, exact=True)),
    "WebP with profile, EXIF, XMP": (
        "webp",
        lambda: pillow("WEBP", pixels(3), lossless=True, icc_profile=SRGB, exif=exif(), xmp=XMP),
    ),
    "WebP, animated": ("webp", lambda: frames("WEBP")),
    "BMP, RGB, with resolution": ("bmp", lambda: pillow("BMP", pixels(3), dpi=(300, 150))),
    "BMP with a profile": ("bmp", lambda: bmp_with_profile()),
    "GIF": ("gif", lambda: pillow("GIF", Image.fromarray(pixels(3)).quantize(16))),
    "GIF, animated": ("gif", lambda: frames("GIF")),
    "PGM": ("pgm", lambda: pnm(b"P5", pixels(1), 255)),
    "PGM, 16 bits": ("pgm", lambda: pnm(b"P5", pixels(1, np.uint16), 65535)),
    "PPM, 16 bits": ("ppm", lambda: pnm(b"P6", pixels(3, np.uint16), 65535)),
    "PPM, 10 bits": ("ppm", lambda: pnm(b"P6", pixels(3, np.uint16, 1023), 1023)),
    "JPEG 2000": ("jp2", lambda: opencv(".jp2", pixels(3), *_JP2)),
    "JPEG 2000, 16 bits": ("jp2", lambda: opencv(".jp2", pixels(3, np.uint16), *_JP2)),
    "JPEG 2000, 16-bit grey": ("jp2", lambda: opencv(".jp2", pixels(1, np.uint16), *_JP2)),
    "AVIF": ("avif", lambda: pillow("AVIF", pixels(3))),
    "AVIF, 10 bits": ("avif", lambda: opencv(".avif", pixels(3, np.uint16, 1023), *_AVIF10)),
    "SGI": ("sgi", lambda: pillow("SGI", pixels(3))),
    "SGI, 16 bits": ("sgi", lambda: pillow("SGI", pixels(3), bpc=2)),
    "TGA, RGBA": ("tga", lambda: pillow("TGA", pixels(4))),
}
