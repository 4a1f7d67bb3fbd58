"""Opening a photo's file: its bytes, its kind, and whether there is room for what it claims."""

from __future__ import annotations

import contextlib
import logging
import resource
import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import psutil
from PIL import Image, TiffImagePlugin

from rethined_export.errors import UserError
from rethined_export.photo.strangers import unreadable

#: Whose depth and channels are known here; Pillow reads others, some by running other programs.
FORMATS = (
    "PNG", "JPEG", "TIFF", "WEBP", "BMP", "DIB", "GIF", "PPM", "JPEG2000", "AVIF",
    "TGA", "PSD", "SGI", "PCX", "ICO",
)  # fmt: skip
logging.getLogger("PIL").setLevel(logging.CRITICAL)  # a failure is told here, once
_PNG = b"\x89PNG\r\n\x1a\n"
#: Chunks that pixels are decoded from. Odd metadata must not keep a photo from being read.
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_ANIMATION_CHUNKS = (b"acTL", b"fcTL", b"fdAT")
#: A file that unpacks to more than this must be at least a thousandth as large itself: nothing
#: that was photographed packs so well, and a few bytes shall not claim all memory. Masks do pack so
#: well: those of phones' photos, 200 million pixels, stay below.
_BOMB_BYTES, _BOMB_RATIO = 1_850_000_000, 1000


def read_bytes(path: Path) -> bytes:
    """All of a file.

    Raises:
        UserError: missing, a folder, unreadable or empty.
    """
    if path.is_dir():
        raise UserError(f"{path} is a directory; give the file itself")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; check the name and the folder") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; check the file") from error
    if not data:
        raise UserError(f"{path} is empty (0 bytes); save or copy it again")
    return data


def open_lazily(data: bytes, path: Path, animated: bool = False) -> Image.Image:
    """Open, and see whether there is room to decode it; `animated` as for `opened`.

    Raises:
        UserError: not a photo, or too large.
    """
    try:
        image = opened(data, animated)
    # On damaged data Pillow raises nearly anything: OSError, SyntaxError, ValueError, EOFError,
    # struct.error, zlib.error.
    except Exception as error:
        raise UserError(f"{path} {unreadable(data)}") from error
    _check_room(image, data, path)
    return image


@contextlib.contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Say of whatever a decoder stumbles over that the file is damaged.

    Raises:
        UserError: it is, or what was raised as one.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise UserError(
            f"{path} is damaged or cut short ({reason(error)}); save or copy it again"
        ) from error


def opened(data: bytes, animated: bool = False) -> Image.Image:
    """The image of a file, not yet decoded; of an animated PNG with its frames where asked for."""
    with _any_size():
        return Image.open(BytesIO(pixels_of(data, animated)), formats=FORMATS)


@contextlib.contextmanager
def _any_size() -> Iterator[None]:
    """Without Pillow's own limit, which knows neither the memory nor the file."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def pixels_of(data: bytes, animated: bool = False) -> bytes:
    """A PNG without anything but its pixels, or those of its frames; any other file as it is."""
    if not data.startswith(_PNG):
        return data
    kept, wanted = [_PNG], (*_PIXEL_CHUNKS, *(_ANIMATION_CHUNKS if animated else ()))
    for kind, start, end in png_chunks(data):
        if kind in wanted:
            kept.append(data[start - 8 : end + 4])
    return b"".join(kept)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, and first and last place of the body, of each chunk of a PNG; cut short, it ends."""
    at = len(_PNG)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, at + 8, min(at + 8 + length, len(data))
        at += 12 + length


def _check_room(image: Image.Image, data: bytes, path: Path) -> None:
    pixels, size = image.width * image.height, len(data)
    needed = pixels * _bytes_a_pixel(image, data)
    what = f"{path} has {pixels / 1e6:.0f} million pixels ({image.width}x{image.height})"
    if needed > _BOMB_BYTES and size * _BOMB_RATIO < needed:
        raise UserError(
            f"{what} in {size / 1e3:.0f} kB, which looks like a file made to fill the memory; "
            "save it again with another program, or make it smaller"
        )
    room = _room()
    if needed > room:
        raise UserError(
            f"{what}, which take {needed / 1e9:.1f} GB to read, and {room / 1e9:.1f} GB of memory "
            "are free; make it smaller, or free some memory"
        )


def _bytes_a_pixel(image: Image.Image, data: bytes) -> int:
    """What reading holds at most: the decoder's own, Pillow's, the array, and what masks take."""
    held = {"1": 4, "L": 4, "P": 9, "PA": 9}.get(image.mode, 8)
    if _is_deep(image, data):
        held += 16  # up to 16 bits a channel, decoded a second time and put in order
    if image.format in ("JPEG", "MPO"):
        return held + (6 if image.info.get("progressive") else 0)  # all coefficients
    return held + 16 if image.format in ("JPEG2000", "AVIF", "WEBP") else held


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether Pillow's pixels are not all that is decoded."""
    if image.format == "PNG":
        return data[24] > 8
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(258, (1,))) > 8 or 338 in image.tag_v2
    return image.format == "PPM"


def _room() -> int:
    """Bytes of memory that this process may still take."""
    room = int(psutil.virtual_memory().available)
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        room = min(room, most - psutil.Process().memory_info().vms)
    with contextlib.suppress(OSError, ValueError):  # of a container, where there is one
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        room = min(room, limit - int((group / "memory.current").read_text()))
    return max(room, 0)


def reason(error: Exception) -> str:
    """The system's words where there are any ("No space left on device"), else the library's."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.splitlines()[0] if text else type(error).__name__
