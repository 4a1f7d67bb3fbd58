"""Pixels of a photo's file in its own depth and channels, and what reading changes about them."""

from __future__ import annotations

import contextlib
import re
import struct
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin

from rethined_export.errors import UserError
from rethined_export.photo.opening import opened, pixels_of, png_chunks
from rethined_export.photo.photo import Alpha, Pixels

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a failure is told here, once

_PNG_DEPTH, _PNG_COLOUR_TYPE = 24, 25  # places in the file
_PNG_GREY_ALPHA = 4
_BITS, _PHOTOMETRIC, _PLANES, _EXTRA, _SAMPLE_FORMAT = 258, 262, 284, 338, 339  # TIFF tags
_SAMPLES, _ORIENTATION = 277, int(ExifTags.Base.Orientation)
_EXTRAS: dict[int, Alpha] = {0: "unspecified", 1: "premultiplied", 2: "straight"}
#: Rows turned into an array at once: Pillow makes two copies on the way.
_ROWS = 256
# The profile of any other mode (CMYK, LAB) describes colours that pixels no longer hold.
_MODES_THAT_KEEP_THEIR_PROFILE = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX")


@dataclass(frozen=True)
class Decoded:
    """Pixels `[H, W, C]`; see `Photo` for the rest.

    Attributes:
        by_pillow: Pillow decoded them, and where it turns what it decodes (TIFF), upright.
    """

    pixels: Pixels
    alpha: Alpha = "straight"
    changed: tuple[str, ...] = ()
    keeps_profile: bool = True
    by_pillow: bool = True


@dataclass(frozen=True)
class _Depth:
    """bits: of a channel as stored. white: the largest value, where it is not 2^bits - 1."""

    bits: int
    white: int


def decode(image: Image.Image, data: bytes, path: Path) -> Decoded:
    """The pixels of a loaded image, `data` being its file.

    Raises:
        UserError: a depth or arrangement that cannot be read without loss.
    """
    depth = _depth(image, data, path)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _decode_tiff(image, data, path, depth)
    if depth.bits > 8:
        if image.tell():  # a frame that builds on others; only Pillow composes them
            raise UserError(
                f"{path} is animated with {depth.bits} bits per channel, of which only the first "
                "picture is read; save the one you want as a 16-bit PNG"
            )
        stored = _channels_in_order(_by_opencv(data, path, depth), image, data)
        return _widened(stored, depth)
    if image.mode in ("I", "F"):
        raise UserError(f"{path} has 32-bit pixels; save it with 8 or 16 bits per channel")
    return _decode_8_bit(image)


def _unpacks_16_bits(data: bytes) -> bool:
    """Whether Pillow's decoder of any format takes the upper half of 16 bits."""
    tiles = getattr(opened(data), "tile", None) or [("", None, 0, "")]
    codec, arguments = str(tiles[0][0]), tiles[0][3]
    rawmode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    # Not BGR;16, which is 5, 6 and 5 bits.
    return codec == "SGI16" or bool(re.match(r"(RGB[AaX]?|LA?|I|CMYK);16", str(rawmode)))


# --- Depth ---------------------------------------------------------------------------------------


def _depth(image: Image.Image, data: bytes, path: Path) -> _Depth:
    """Of any format: one that nobody thought of must not lose bits in silence."""
    kind = image.format
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = max(image.tag_v2.get(_BITS, (1,)))
    elif kind == "PNG":
        bits = data[_PNG_DEPTH]
    elif kind == "PPM":
        white = _ppm_white(data)
        return _Depth(white.bit_length(), white)
    elif kind == "JPEG2000":
        bits = _jpeg2000_bits(data, path)
    elif kind == "AVIF":
        bits = _avif_bits(data)
    elif _unpacks_16_bits(data):
        raise UserError(f"{path} is a {kind} of 16 bits; save it as a 16-bit PNG")
    else:
        bits = 8
    return _Depth(bits, (1 << bits) - 1)


def _ppm_white(data: bytes) -> int:
    """The largest value of a PNM: its third number, or none in a bitmap."""
    if data[:2] in (b"P1", b"P4", b"Pf", b"PF"):
        return 1
    numbers: list[bytes] = []
    for line in data[2:4096].splitlines():
        numbers += line.split(b"#")[0].split()
        if len(numbers) >= 3:
            break
    return int(numbers[2]) if len(numbers) > 2 and numbers[2].isdigit() else 255


def _jpeg2000_bits(data: bytes, path: Path) -> int:
    """The deepest component's, from the codestream's SIZ marker."""
    at = data.find(b"\xff\x4f\xff\x51")
    (count,) = struct.unpack_from(">H", data, at + 40)
    sizes = data[at + 42 : at + 42 + 3 * count : 3]
    if at < 0 or any(size & 0x80 for size in sizes):
        raise UserError(f"{path} is an unusual kind of JPEG 2000; save it as a 16-bit PNG")
    return max((size & 0x7F) + 1 for size in sizes)


def _avif_bits(data: bytes) -> int:
    """From the first picture's av1C box."""
    at = data.find(b"av1C")
    flags = data[at + 6] if 0 <= at < len(data) - 6 else 0
    return (12 if flags & 0x20 else 10) if flags & 0x40 else 8


# --- More than 8 bits per channel: Pillow keeps them for grey only, so OpenCV decodes ------------


def _by_opencv(data: bytes, path: Path, depth: _Depth) -> npt.NDArray[Any]:
    """`[H, W]` or `[H, W, C]`, in OpenCV's order of channels."""
    decoded = None
    if data.startswith(b"\x89PNG"):
        data = _without_key_colour(data)
    with contextlib.suppress(cv2.error):  # a damaged file that Pillow let pass
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != (np.uint16 if depth.bits > 8 else np.uint8):
        raise UserError(f"{path} cannot be decoded with {depth.bits} bits; save it as a 16-bit PNG")
    return np.asarray(decoded)


def _without_key_colour(png: bytes) -> bytes:
    """Which OpenCV would apply in its own way."""
    kept = pixels_of(png)
    for kind, start, end in png_chunks(kept):
        if kind == b"tRNS":
            return kept[: start - 8] + kept[end + 4 :]
    return kept


def _channels_in_order(stored: npt.NDArray[Any], image: Image.Image, data: bytes) -> Pixels:
    """Grey, grey and alpha, RGB or RGBA `[H, W, C]`."""
    if image.format == "PNG":
        if data[_PNG_COLOUR_TYPE] == _PNG_GREY_ALPHA:
            return np.asarray(stored[..., [0, 3]])
        return _with_key_colour(_rgb_order(stored), data)
    return _rgb_order(stored)


def _rgb_order(stored: npt.NDArray[Any]) -> Pixels:
    if stored.ndim == 2:
        return stored[..., None]
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}
    return np.asarray(stored[..., order[stored.shape[2]]])


def _with_key_colour(pixels: Pixels, png: bytes) -> Pixels:
    """With alpha where the file calls one colour transparent."""
    for kind, start, end in png_chunks(png):
        if kind == b"tRNS" and end - start == 2 * pixels.shape[2]:
            key = np.frombuffer(png[start:end], ">u2")
            shown = (pixels != key).any(axis=2, keepdims=True)
            return np.concatenate([pixels, shown * np.uint16(65535)], axis=2)
    return pixels


def _widened(stored: Pixels, depth: _Depth) -> Decoded:
    """From 9 to 15 bits, or any largest value, to 16 bits, from which they can be told again."""
    if depth.white == 65535:
        return Decoded(stored)
    wide = np.minimum(stored, depth.white).astype(np.uint32) * 65535 + depth.white // 2
    told = f"its values up to {depth.white} are spread over 16 bits"
    return Decoded(np.asarray(wide // depth.white, np.uint16), changed=(told,))


# --- TIFF ----------------------------------------------------------------------------------------


def _decode_tiff(
    image: TiffImagePlugin.TiffImageFile, data: bytes, path: Path, depth: _Depth
) -> Decoded:
    tags = image.tag_v2
    samples = int(tags.get(_SAMPLES, 1))
    extra = tags.get(_EXTRA, ())
    alpha = _EXTRAS.get(extra[0], "straight") if len(extra) else "unspecified"
    if samples > 4 or (image.mode == "CMYK" and samples > 4) or len(extra) > 1:
        raise UserError(f"{path} has {samples} channels; save it as RGB, with alpha or without")
    if set(tags.get(_BITS, (1,))) == {16}:
        stored = _tiff_by_opencv(tags, data, path, depth)
        if stored.ndim == 2:
            # Photometric 0 means that 0 is white.
            grey: Pixels = (~stored if tags.get(_PHOTOMETRIC) == 0 else stored)[..., None]
            return Decoded(grey, by_pillow=False)
        pixels = _rgb_order(stored)
        kind = alpha if pixels.shape[2] == 4 else "straight"
        return Decoded(pixels, kind, by_pillow=False)
    if image.mode.startswith("I;16"):
        return _widened(np.asarray(image).astype(np.uint16)[..., None], depth)
    if image.mode in ("I", "F") or depth.bits > 8:
        raise UserError(f"{path} has 32-bit pixels; save it with 8 or 16 bits per channel")
    if not {1, 4}.issuperset(tags.get(_SAMPLE_FORMAT, (1,))):  # numbers without sign, or untold
        raise UserError(f"{path} is an unusual kind of TIFF; save it as a PNG")
    if alpha != "straight" and samples in (2, 4) and tags.get(_PHOTOMETRIC) in (0, 1, 2):
        if samples == 2:
            raise UserError(f"{path} is grey with an unusual second channel; save it as a PNG")
        stored = _tiff_by_opencv(tags, data, path, depth)
        return Decoded(_rgb_order(stored), alpha, by_pillow=False)
    return _decode_8_bit(image)


def _tiff_by_opencv(tags: Any, data: bytes, path: Path, depth: _Depth) -> npt.NDArray[Any]:
    unusual = tags.get(_PLANES, 1) != 1 or set(tags.get(_SAMPLE_FORMAT, (1,))) != {1}
    if unusual or struct.unpack_from(_byte_order(data) + "H", data, 2) != (42,):
        raise UserError(f"{path} is an unusual kind of TIFF; save it as a PNG")
    with contextlib.suppress(struct.error):
        data = _with_orientation_reset(data)
    stored = _by_opencv(data, path, depth)
    if (1 if stored.ndim == 2 else stored.shape[2]) != int(tags.get(_SAMPLES, 1)):
        raise UserError(f"{path} is an unusual kind of TIFF; save it as a PNG")
    return stored


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


# --- 8 bits per channel ------------------------------------------------------------------------


def _decode_8_bit(image: Image.Image) -> Decoded:
    """Any mode with up to 8 bits per channel."""
    alpha = image.has_transparency_data
    if image.mode in ("1", "L", "LA", "La"):
        mode = "LA" if alpha else "L"
    else:
        mode = "RGBA" if alpha else "RGB"
    made = Decoded(np.empty(0, np.uint8))
    if image.mode not in _MODES_THAT_KEEP_THEIR_PROFILE:
        told = f"its {image.mode} colours are turned into RGB"
        made = replace(made, changed=(told,), keeps_profile=False)
    if image.mode == "CMYK":
        image = _from_cmyk(image)
    elif image.mode != mode:
        image = image.convert(mode)
    return replace(made, pixels=_array(image))


def _array(image: Image.Image) -> Pixels:
    """`[H, W, C]`, taken over in strips."""
    channels = len(image.getbands())
    pixels = np.empty((image.height, image.width, channels), np.uint8)
    for top in range(0, image.height, _ROWS):
        strip = image.crop((0, top, image.width, min(top + _ROWS, image.height)))
        pixels[top : top + _ROWS] = np.asarray(strip).reshape(strip.height, -1, channels)
    return pixels


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
