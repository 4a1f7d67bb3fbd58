"""Reading and writing photos and masks without losing anything unsaid.

Pixels are numpy arrays `[H, W, C]`, uint8 or uint16, channels in the order grey; grey, alpha; red,
green, blue; or red, green, blue, alpha. Whatever the user can put right is raised as `UserError`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from rethined_export.errors import UserError
from rethined_export.output import written
from rethined_export.photo.decoding import decode
from rethined_export.photo.encoding import encode, format_of, losses
from rethined_export.photo.frames import count_frames, single_out
from rethined_export.photo.masks import AS_IT_SAYS, Mask, MaskRule, mask_of
from rethined_export.photo.metadata import (
    icc_profile,
    kept_exif,
    png_exif,
    read_metadata,
)
from rethined_export.photo.opening import (
    damage_told,
    opened,
    read_bytes,
    reason,
)
from rethined_export.photo.photo import Density, Metadata, Photo, Pixels

__all__ = [
    "Mask",
    "MaskRule",
    "Photo",
    "Pixels",
    "check_output",
    "frames_in",
    "is_lossless",
    "losses",
    "read_mask",
    "read_photo",
    "write_photo",
]

_ORIENTATION = int(ExifTags.Base.Orientation)
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


# --- Reading ---------------------------------------------------------------------------------


def read_photo(path: str | Path, frame: int = 1) -> Photo:
    """Read a photo upright, in its own depth (8 or 16 bits) and channels.

    Palettes become RGB or RGBA, 1-bit becomes grey, CMYK and other colour spaces become RGB. Of a
    file with several pictures (animated, or of several pages) one is read; `frame` 1 is the first.
    Raises UserError where the file is missing, empty, cut short, too large or not a photo, or has
    no such frame.
    """
    path = Path(path)
    whole = read_bytes(path)
    with warnings.catch_warnings():
        # Odd metadata is no news to the user.
        warnings.simplefilter("ignore")
        image, data = _loaded(whole, path, frame)
        with damage_told(path):
            photo = _photo(image, data, path)
        return replace(photo, frame=frame, frames=count_frames(whole))


def read_mask(path: str | Path, rule: MaskRule = AS_IT_SAYS) -> Mask:
    """Read a mask, as `rethined_export.photo.masks` says; 32-bit values are read as well.

    Raises UserError as `read_photo` does, and where the mask can be read in more than one way.
    """
    path = Path(path)
    whole = read_bytes(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image, data = _loaded(whole, path, rule.frame)
        with damage_told(path):
            pixels = _mask_pixels(image, data, path)
        del image  # which takes as much again
        return replace(mask_of(pixels, str(path), rule), frames=count_frames(whole))


def _mask_pixels(image: Image.Image, data: bytes, path: Path) -> Pixels:
    """`[H, W, C]` of any number type."""
    if image.mode not in ("I", "F") or image.format == "PPM":
        pixels = _photo(image, data, path).pixels
        if image.mode != "P" or (pixels != pixels[:1, :1]).any():
            return pixels
        # A palette of one colour: what was drawn is in its indices.
    return _upright(np.asarray(image)[..., None], _orientation(image))


def _loaded(whole: bytes, path: Path, frame: int) -> tuple[Image.Image, bytes]:
    """One picture of a file, decoded, and the file as if that were its first.

    Decoded in full, so that a file cut short is found here and not half-read later; with the EXIF
    that was kept from its decoder.
    """
    image, data = single_out(whole, path, frame)
    with damage_told(path):
        image.load()
    if image.format == "PNG" and (exif := png_exif(data)):
        image.info["exif"] = exif
    return image, data


def frames_in(path: str | Path) -> int:
    """How many pictures a file holds; 1 also where it is none, which reading it will tell."""
    try:
        data = read_bytes(Path(path))
    except UserError:
        return 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return count_frames(data)


def _photo(image: Image.Image, data: bytes, path: Path) -> Photo:
    """The upright photo of a loaded image, `data` being its file."""
    decoded = decode(image, data, path)
    # Opened again, since loading a TIFF turns Pillow's pixels and drops the tag: OpenCV's are not.
    by_opencv = image.format == "TIFF" and not decoded.by_pillow
    orientation = _orientation(opened(data) if by_opencv else image)
    pixels = _upright(decoded.pixels, orientation)
    height, width = pixels.shape[:2]
    about = read_metadata(image, data)
    return Photo(
        pixels,
        icc=icc_profile(image, data) if decoded.keeps_profile else None,
        exif=kept_exif(image, width, height),
        alpha=decoded.alpha,
        about=_turned(about, orientation),
        changed=decoded.changed,
    )


def _upright(stored: Pixels, orientation: int) -> Pixels:
    return np.ascontiguousarray(_UPRIGHT.get(orientation, _UPRIGHT[1])(stored))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation still to be applied to a loaded image: 1 to 8, 1 where unknown."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF raises many kinds, and is no reason to refuse a photo
        return 1


def _turned(about: Metadata, orientation: int) -> Metadata:
    """Pixels across become pixels down where the photo lay on its side."""
    density = about.density
    if density is None or orientation < 5:
        return about
    return replace(about, density=Density(density.y, density.x, density.unit))


# --- Writing -------------------------------------------------------------------------------------


def is_lossless(path: str | Path) -> bool:
    """Whether a photo written to this name keeps every pixel; UserError for an unknown ending."""
    return format_of(Path(path)).lossless


def check_output(photo: Photo, path: str | Path) -> None:
    """Raise UserError where `photo` cannot be written to `path`; cheap, so ask before the work."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a directory; give a file name, such as {path / 'out.png'}")
    kind = format_of(path)
    if photo.has_alpha and not kind.alpha:
        raise UserError(
            f"{path}: {kind.name} cannot keep the photo's transparency; "
            f"write .png, .tif{'' if photo.full > 255 else ' or .webp'}"
        )
    if photo.has_alpha and photo.alpha == "premultiplied" and photo.alpha not in kind.alpha:
        raise UserError(
            f"{path}: {kind.name} cannot keep colours that are multiplied by alpha; write .tif"
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

    It appears under its name only when complete, and nothing is left behind on failure; what it
    replaces keeps its permissions, and a link stays one. WebP holds grey as equal RGB channels.
    What else is said of the photo goes along as far as the format can hold it (`losses`).
    Raises UserError as `check_output` does, and where the system refuses (no permission, disk
    full).
    """
    path = Path(path)
    check_output(photo, path)
    try:
        with written(path) as file:
            encode(photo, format_of(path), file)
    except (OSError, ValueError) as error:  # ValueError: Pillow, for a size the format cannot hold
        raise UserError(
            f"cannot write {path}: {reason(error)}; choose another place or format"
        ) from error
