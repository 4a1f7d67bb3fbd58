"""Files that hold several pictures: how many there are, and one of them by itself."""

from __future__ import annotations

import struct
from pathlib import Path

from PIL import Image

from rethined_export.errors import UserError
from rethined_export.photo.opening import damage_told, open_lazily, opened, png_chunks

#: Of a TIFF's kind: where the place of its first directory stands, the type of places, the type of
#: a directory's count of entries, and an entry's bytes.
_TIFF_LAYOUTS = {42: (4, "I", "H", 12), 43: (8, "Q", "Q", 20)}


def count_frames(data: bytes) -> int:
    """How many pictures a file holds that can be opened; 1 where that cannot be told."""
    if data.startswith(b"\x89PNG"):
        return _png_frames(data)
    try:
        image = opened(data)
        if image.format in ("PSD", "ICO"):
            return 1  # layers and sizes of one picture
        return max(1, int(getattr(image, "n_frames", 1)))
    except Exception:  # damaged: the first may still be read
        return 1


def _png_frames(data: bytes) -> int:
    """Of the animation, and the picture for programs that show none, where it is another one."""
    animated, controlled = 0, False
    for kind, start, end in png_chunks(data):
        if kind == b"acTL" and end - start >= 4:
            animated = int.from_bytes(data[start : start + 4], "big")
        elif kind == b"fcTL":
            controlled = True
        elif kind == b"IDAT":
            break
    return max(1, animated + (animated > 0 and not controlled))


def single_out(data: bytes, path: Path, frame: int) -> tuple[Image.Image, bytes]:
    """One picture of a file, not yet decoded, and a file that holds it first.

    Where pictures build on each other (GIF, PNG, WebP, AVIF) that is the whole file, and the image
    stands at the frame.

    Args:
        frame: 1 is the first.

    Raises:
        UserError: there is no such picture, or the file is damaged.
    """
    image = open_lazily(data, path, animated=frame > 1)
    if frame == 1:
        return image, data
    if frame > (count := count_frames(data)):
        holds = "one picture only" if count == 1 else f"{count} pictures"
        raise UserError(f"{path} holds {holds}, and no number {frame}; choose another frame")
    with damage_told(path):
        if image.format == "TIFF":
            data = _from_page(data, frame)
            return opened(data), data
        image.seek(frame - 1)
        if image.format == "MPO":  # JPEGs, one behind the other
            data = data[image.offset :]  # type: ignore[attr-defined]
            return opened(data), data
    return image, data


def _from_page(tiff: bytes, page: int) -> bytes:
    """A TIFF that begins with one of its pages."""
    order = "<" if tiff[:2] == b"II" else ">"
    head, place, count, entry = _TIFF_LAYOUTS[struct.unpack_from(order + "H", tiff, 2)[0]]
    (directory,) = struct.unpack_from(order + place, tiff, head)
    for _ in range(page - 1):
        (entries,) = struct.unpack_from(order + count, tiff, directory)
        after = directory + struct.calcsize(order + count) + entries * entry
        (directory,) = struct.unpack_from(order + place, tiff, after)
    patched = bytearray(tiff)
    struct.pack_into(order + place, patched, head, directory)
    return bytes(patched)
