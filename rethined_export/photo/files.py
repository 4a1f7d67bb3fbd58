"""Reading and writing photos and masks without losing anything.

Pixels are numpy arrays `[H, W, C]`, uint8 or uint16, channels in the order grey; grey, alpha; red,
green, blue; or red, green, blue, alpha. Whatever the user can put right is raised as `UserError`.
"""

from __future__ import annotations

import contextlib
import secrets
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin

from rethined_export.errors import UserError
from rethined_export.photo.masks import AS_IT_SAYS, Mask, MaskRule, mask_of
from rethined_export.photo.photo import Photo, Pixels

# --- Reading ---------------------------------------------------------------------------------


def read_photo(path: str | Path) -> Photo:
    """Read a photo upright, in its own depth (8 or 16 bits) and channels; the first frame only.

    Palettes become RGB or RGBA, 1-bit becomes grey, CMYK and other colour spaces become RGB.
    Raises UserError where the file is missing, empty, cut short, too large or not a photo.
    """
    path = Path(path)
    data = _read_bytes(path)
    with warnings.catch_warnings():
        # Odd metadata and sizes between Pillow's warning and its limit are no news to the user.
        warnings.simplefilter("ignore")
        return _photo(_decode(data, path), data, path)


def read_mask(path: str | Path, rule: MaskRule = AS_IT_SAYS) -> Mask:
    """Read a mask, as `rethined_export.photo.masks` says; 32-bit values are read as well.

    Raises UserError as `read_photo` does, and where the mask can be read in more than one way.
    """
    path = Path(path)
    data = _read_bytes(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = _decode(data, path)
        if image.mode in ("I", "F"):
            orientation = _orientation(image)
            pixels = np.ascontiguousarray(_UPRIGHT[orientation](np.asarray(image)[..., None]))
        else:
            pixels = _photo(image, data, path).pixels
            if image.mode == "P" and not (pixels != pixels[:1, :1]).any():
                # A palette of one colour: what was drawn is in its indices.
                pixels = _UPRIGHT[_orientation(image)](np.asarray(image)[..., None])
    return mask_of(pixels, str(path), rule)


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise UserError(f"{path} is a directory; give the file itself")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; check the name and the folder") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {_reason(error)}; check the file") from error
    if not data:
        raise UserError(f"{path} is empty (0 bytes); save or copy it again")
    return data


def _decode(data: bytes, path: Path) -> Image.Image:
    """Open and decode in full, so that a file cut short is found here and not half-read later."""
    try:
        image = Image.open(BytesIO(data))
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise UserError(f"{path} has more than {most} million pixels; make it smaller") from error
    except Exception as error:
        raise UserError(
            f"{path} is not a readable image; give a PNG, JPEG, WebP, TIFF or BMP"
        ) from error
    try:
        image.load()
    # On damaged data Pillow's decoders raise nearly anything: OSError, SyntaxError, ValueError,
    # EOFError, struct.error, zlib.error.
    except Exception as error:
        raise UserError(
            f"{path} is damaged or cut short ({_reason(error)}); save or copy it again"
        ) from error
    return image


def _photo(image: Image.Image, data: bytes, path: Path) -> Photo:
    """The upright photo of a loaded image, `data` being its file."""
    icc = image.info.get("icc_profile") or None
    orientation = _orientation(image)
    if _is_16_bit(image, data):
        pixels = _decode_16_bit(image, data, path)
        # Opened again, since loading a TIFF turns Pillow's pixels, not these, and drops the tag.
        orientation = _orientation(Image.open(BytesIO(data)))
    elif image.mode.startswith("I;16"):
        pixels = np.asarray(image).astype(np.uint16)[..., None]
    elif image.mode in ("I", "F"):
        raise UserError(f"{path} has 32-bit pixels; save it with 8 or 16 bits per channel")
    else:
        icc = icc if image.mode in _MODES_THAT_KEEP_THEIR_PROFILE else None
        pixels = _decode_8_bit(image)
    pixels = np.ascontiguousarray(_UPRIGHT.get(orientation, _UPRIGHT[1])(pixels))
    height, width = pixels.shape[:2]
    return Photo(pixels, icc=icc, exif=_kept_exif(image, width, height))


# --- 8 bits per channel ------------------------------------------------------------------------

# The profile of any other mode (CMYK, LAB) describes colours that `pixels` no longer holds.
_MODES_THAT_KEEP_THEIR_PROFILE = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX")


def _decode_8_bit(image: Image.Image) -> Pixels:
    """Any mode with up to 8 bits per channel, as uint8 `[H, W, C]`."""
    alpha = image.has_transparency_data
    if image.mode in ("1", "L", "LA", "La"):
        mode = "LA" if alpha else "L"
    else:
        mode = "RGBA" if alpha else "RGB"
    if image.mode == "CMYK":
        image = _from_cmyk(image)
    elif image.mode != mode:
        image = image.convert(mode)
    return np.asarray(image).reshape(image.height, image.width, len(mode))


def _from_cmyk(image: Image.Image) -> Image.Image:
    """To sRGB by the embedded profile; by Pillow's plain inversion where there is none."""
    profile = image.info.get("icc_profile")
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
            if converted is not None:
                return converted
    return image.convert("RGB")


# --- 16 bits per channel: Pillow keeps them for grey only, so OpenCV decodes --------------------

_PNG_DEPTH, _PNG_COLOUR_TYPE, _PNG_GREY_ALPHA = 24, 25, 4  # places in the file, and a value
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_PLANES, _TIFF_SAMPLE_FORMAT = 258, 262, 284, 339
_ORIENTATION = int(ExifTags.Base.Orientation)


def _is_16_bit(image: Image.Image, data: bytes) -> bool:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return set(image.tag_v2.get(_TIFF_BITS, (1,))) == {16}
    return image.format == "PNG" and data[_PNG_DEPTH] == 16


def _decode_16_bit(image: Image.Image, data: bytes, path: Path) -> Pixels:
    """A 16-bit PNG or TIFF as uint16 `[H, W, C]`, as stored (orientation not applied)."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    if tags:
        unusual = tags.get(_TIFF_PLANES, 1) != 1 or set(tags.get(_TIFF_SAMPLE_FORMAT, (1,))) != {1}
        if unusual or struct.unpack_from(_byte_order(data) + "H", data, 2) != (42,):
            raise UserError(f"{path} is an unusual kind of 16-bit TIFF; save it as a 16-bit PNG")
    decoded = None
    with contextlib.suppress(cv2.error, struct.error):  # a damaged file that Pillow let pass
        upright = _with_orientation_reset(data) if tags else data
        decoded = cv2.imdecode(np.frombuffer(upright, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16:
        raise UserError(f"{path} cannot be decoded with 16 bits; save it as a 16-bit PNG")
    stored = np.asarray(decoded, np.uint16)
    if stored.ndim == 2:
        # In a TIFF photometric 0 means that 0 is white.
        return (~stored if tags.get(_TIFF_PHOTOMETRIC) == 0 else stored)[..., None]
    if not tags and data[_PNG_COLOUR_TYPE] == _PNG_GREY_ALPHA:
        return stored[..., [0, 3]]
    order = [2, 1, 0] if stored.shape[2] == 3 else [2, 1, 0, 3]
    return stored[..., order]


def _byte_order(tiff: bytes) -> str:
    return "<" if tiff[:2] == b"II" else ">"


def _with_orientation_reset(tiff: bytes) -> bytes:
    """The same TIFF saying "upright": OpenCV applies some orientations and fails on the others."""
    order, patched = _byte_order(tiff), bytearray(tiff)
    (directory,) = struct.unpack_from(order + "I", tiff, 4)
    (entries,) = struct.unpack_from(order + "H", tiff, directory)
    for at in range(directory + 2, directory + 2 + 12 * entries, 12):
        if struct.unpack_from(order + "H", tiff, at) == (_ORIENTATION,):
            struct.pack_into(order + "HHIHH", patched, at, _ORIENTATION, 3, 1, 1, 0)
    return bytes(patched)


# --- Orientation and EXIF ------------------------------------------------------------------------

# How to turn `[H, W, C]` upright, for each EXIF orientation.
_UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored.swapaxes(0, 1)[:, ::-1],
    7: lambda stored: stored.swapaxes(0, 1)[::-1, ::-1],
    8: lambda stored: stored.swapaxes(0, 1)[::-1],
}

_KEPT_TAGS = (
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


def _orientation(image: Image.Image) -> int:
    """EXIF orientation still to be applied to a loaded image: 1 to 8, 1 where unknown."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF raises many kinds, and is no reason to refuse a photo
        return 1


def _kept_exif(image: Image.Image, width: int, height: int) -> bytes | None:
    """What describes the picture, not its old file: no orientation, no thumbnail, no strip offsets.

    The thumbnail would still show what the user has removed. None where nothing is left.
    """
    kept = Image.Exif()
    with contextlib.suppress(Exception):
        source = image.getexif()
        kept.update({tag: source[tag] for tag in _KEPT_TAGS if tag in source})
        for group in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            tags = {k: v for k, v in source.get_ifd(group).items() if k not in _DROPPED_TAGS}
            if ExifTags.Base.ExifImageWidth in tags:
                tags[ExifTags.Base.ExifImageWidth] = width
                tags[ExifTags.Base.ExifImageHeight] = height
            if tags:
                kept[group] = tags
        return kept.tobytes() if len(kept) else None
    return None  # damaged EXIF: the photo is worth more


# --- Writing -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Format:
    name: str
    lossless: bool = True
    alpha: bool = True
    sixteen: bool = False


_FORMATS = {
    ".png": _Format("PNG", sixteen=True),
    ".tif": _Format("TIFF", sixteen=True),
    ".tiff": _Format("TIFF", sixteen=True),
    ".webp": _Format("WEBP"),
    ".bmp": _Format("BMP", alpha=False),
    ".jpg": _Format("JPEG", lossless=False, alpha=False),
    ".jpeg": _Format("JPEG", lossless=False, alpha=False),
}
_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    # WebP's lossy mode always halves the colour resolution, which would change known pixels most;
    # `exact` keeps the colours of transparent ones.
    "WEBP": {"lossless": True, "exact": True},
}


def is_lossless(path: str | Path) -> bool:
    """Whether a photo written to this name keeps every pixel; UserError for an unknown ending."""
    return _format(Path(path)).lossless


def check_output(photo: Photo, path: str | Path) -> None:
    """Raise UserError where `photo` cannot be written to `path`; cheap, so ask before the work."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a directory; give a file name, such as {path / 'out.png'}")
    kind = _format(path)
    if not path.parent.is_dir():
        raise UserError(f"cannot write {path}: there is no folder {path.parent}; create it first")
    if photo.has_alpha and not kind.alpha:
        raise UserError(
            f"{path}: {kind.name} cannot keep the photo's transparency; "
            f"write .png, .tif{'' if photo.full > 255 else ' or .webp'}"
        )
    if photo.full > 255 and not kind.sixteen:
        raise UserError(
            f"{path}: {kind.name} cannot keep the photo's 16 bits per channel; write .png or .tif"
        )
    if photo.full > 255 and kind.name == "TIFF" and photo.pixels.shape[2] == 2:
        raise UserError(
            f"{path}: TIFF readers do not take 16-bit grey with transparency; write .png"
        )


def write_photo(photo: Photo, path: str | Path) -> None:
    """Write a photo in the mode it was read with, in the format of the name's ending.

    It appears under its name only when complete, and nothing is left behind on failure. WebP
    holds grey as equal RGB channels. Raises UserError as `check_output` does, and where the
    system refuses (no permission, disk full).
    """
    path = Path(path)
    check_output(photo, path)
    # In the same folder, since a rename is only atomic within one file system.
    temporary = path.with_name(f".rethined-{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as file:
            _encode(photo, _format(path).name, file)
        temporary.replace(path)
    except (OSError, ValueError) as error:  # ValueError: Pillow, for a size the format cannot hold
        raise UserError(
            f"cannot write {path}: {_reason(error)}; choose another place or format"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _format(path: Path) -> _Format:
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        raise UserError(
            f"cannot tell the format of {path} from its ending; use one of {', '.join(_FORMATS)}"
        ) from None


def _encode(photo: Photo, name: str, file: BinaryIO) -> None:
    if photo.full > 255:
        (_encode_16_bit_png if name == "PNG" else _encode_16_bit_tiff)(photo, file)
        return
    pixels = photo.pixels[..., 0] if photo.pixels.shape[2] == 1 else photo.pixels
    options = dict(_OPTIONS.get(name, {}))
    if name != "BMP" and photo.icc:
        options["icc_profile"] = photo.icc
    if name != "BMP" and photo.exif:
        options["exif"] = photo.exif
    Image.fromarray(pixels).save(file, format=name, **options)


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
    colour_type = {1: 0, 2: _PNG_GREY_ALPHA, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    file.write(b"\x89PNG\r\n\x1a\n")
    _write_chunk(file, b"IHDR", header)
    if photo.icc:
        _write_chunk(file, b"iCCP", b"ICC Profile\0\0" + zlib.compress(photo.icc))
    if photo.exif:
        _write_chunk(file, b"eXIf", photo.exif.removeprefix(b"Exif\0\0"))
    _write_chunk(file, b"IDAT", zlib.compress(filtered.data))
    _write_chunk(file, b"IEND", b"")


def _write_chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind)
    file.write(data)
    file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))


def _encode_16_bit_tiff(photo: Photo, file: BinaryIO) -> None:
    """An uncompressed TIFF of one strip, by hand for the same reasons as PNG."""
    height, width, channels = photo.pixels.shape
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    if photo.exif:
        exif = Image.Exif()
        exif.load(photo.exif)
        groups = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
        for tag in exif:
            tags[tag] = exif.get_ifd(tag) if tag in groups else exif[tag]
    tags[TiffImagePlugin.IMAGEWIDTH] = width
    tags[TiffImagePlugin.IMAGELENGTH] = height
    tags[TiffImagePlugin.BITSPERSAMPLE] = (16,) * channels
    tags[TiffImagePlugin.COMPRESSION] = 1  # none
    tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 1 if channels == 1 else 2  # grey or RGB
    tags[TiffImagePlugin.SAMPLESPERPIXEL] = channels
    tags[TiffImagePlugin.ROWSPERSTRIP] = height
    tags[TiffImagePlugin.STRIPBYTECOUNTS] = photo.pixels.nbytes
    tags[TiffImagePlugin.STRIPOFFSETS] = 0  # from the end of the tags, where the pixels go
    if photo.has_alpha:
        tags[TiffImagePlugin.EXTRASAMPLES] = 2  # alpha, colours not multiplied by it
    if photo.icc:
        tags[TiffImagePlugin.ICCPROFILE] = photo.icc
    tags.save(file)
    file.write(np.ascontiguousarray(photo.pixels, dtype="<u2").data)


def _reason(error: Exception) -> str:
    """The system's words where there are any ("No space left on device"), else the library's."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.splitlines()[0] if text else type(error).__name__
