"""Running a function of a fixed window on a photo of any size and shape.

One crop around the hole goes through the function, of the window's own shape and at the photo's own
resolution where it fits, and only the hole's pixels are taken from what comes back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
import numpy.typing as npt

from rethined_export.errors import UserError
from rethined_export.photo.photo import Photo, Pixels
from rethined_export.photo.resampling import (
    enlarged_bands,
    resized,
    shrunk_window,
    touched,
    touched_window,
)
from rethined_export.photo.window import reflected

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

#: (height, width) in pixels; a number is a square's side.
Window = tuple[int, int] | int
# image float32 [1, 3, h, w] in [0, 1], mask float32 [1, 1, h, w] (1 = hole) -> image like the first
Fill = Callable[[Floats, Floats], Floats]
# photo [H, W, 3] uint8 or uint16, hole [H, W], top and left of the window -> photo, hole filled
FillPhoto = Callable[[Pixels, Bools, int, int], Pixels]


@dataclass(frozen=True)
class Crop:
    """A part of a photo; negative `top` or `left`: it begins outside, in padding."""

    top: int
    left: int
    height: int
    width: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    def rows(self, height: int) -> Indices:
        """The photo row of each of the crop's rows; reflected where outside the photo."""
        return reflected(self.top, self.height, height)

    def columns(self, width: int) -> Indices:
        """The photo column of each of the crop's columns; reflected where outside."""
        return reflected(self.left, self.width, width)


class RepeatedCrop(Crop):
    """Outside the photo its border is repeated: a reflection would hold the hole once more."""

    def rows(self, height: int) -> Indices:
        """The photo row of each of the crop's rows."""
        return np.clip(np.arange(self.top, self.top + self.height), 0, height - 1)

    def columns(self, width: int) -> Indices:
        """The photo column of each of the crop's columns."""
        return np.clip(np.arange(self.left, self.left + self.width), 0, width - 1)


def inpaint(
    photo: Photo,
    hole: Bools,
    fill: Fill,
    window: Window,
    fill_photo: FillPhoto | None = None,
    middle: int | None = None,
) -> Photo:
    """Fill the photo's hole (bool `[H, W]`) with `fill`, a function of images of one size.

    `fill_photo`, where given, is used instead: it fills a photo of any size in place, as long as
    what it must see fits the window; where it does not, a smaller copy of the photo goes there.

    `middle`, where given, is as in `choose_crop`.

    All pixels outside the hole, and alpha everywhere, come back as they are. An empty hole returns
    the photo itself. Raises UserError where the mask does not suit the photo, RuntimeError where
    `fill` returns the wrong shape or values that are not finite.
    """
    _check_mask(photo, hole)
    if not hole.any():
        return photo
    result = _inpainted(photo, hole, fill, _size(window), fill_photo, middle)
    if photo.alpha == "premultiplied" and photo.has_alpha:
        # Brighter than its alpha, a colour means nothing.
        bounded = np.minimum(result.pixels[hole], photo.pixels[hole][:, -1:])
        result.pixels[hole] = bounded
    return result


def inpaint_in_place(photo: Photo, hole: Bools, fill_photo: FillPhoto) -> Photo:
    """Fill the photo's hole with a function that finds its own way around it.

    Of what it makes only the hole's pixels are taken. Raises UserError where the mask does not suit
    the photo.
    """
    _check_mask(photo, hole)
    if not hole.any():
        return photo
    return _take(photo, hole, fill_photo(_colours(photo), hole, 0, 0))


def _inpainted(
    photo: Photo,
    hole: Bools,
    fill: Fill,
    size: tuple[int, int],
    fill_photo: FillPhoto | None,
    middle: int | None,
) -> Photo:
    """A copy of the photo with its hole filled."""
    crop = choose_crop(hole, size, middle)
    if fill_photo is not None:
        if photo.height <= size[0] and photo.width <= size[1]:
            crop = _around(hole, size)
        if crop.size == size:
            return _take(photo, hole, fill_photo(_colours(photo), hole, crop.top, crop.left))
        return _paste_enlarged(photo, hole, *_fill_smaller(photo, hole, crop, size, fill_photo))
    image, mask = _cut(photo, hole, crop, size)
    _check_known(mask, size)
    filled = _run(fill, image, mask)
    if crop.size == size:
        return _paste(photo, hole, crop, filled)
    # Enlarging mixes neighbours, and beside the hole they should be the photo's own pixels.
    filled = np.where(mask[0] > 0, filled, image[0])
    if _smaller(crop, size):
        small = np.stack([resized(plane, crop.size) for plane in filled])
        return _paste(photo, hole, crop, small)
    return _paste_enlarged(photo, hole, filled, crop)


def _smaller(crop: Crop, size: tuple[int, int]) -> bool:
    """Whether the crop is enlarged to fit the window: the photo is smaller than that."""
    return crop.height < size[0] or crop.width < size[1]


def _size(window: Window) -> tuple[int, int]:
    return (window, window) if isinstance(window, int) else window


def _check_mask(photo: Photo, hole: Bools) -> None:
    if hole.shape != (photo.height, photo.width):
        height, width = hole.shape
        swapped = hole.shape == (photo.width, photo.height)
        advice = "rotate the mask by 90 degrees" if swapped else "save both at the same size"
        raise UserError(
            f"the mask is {width}x{height} but the photo is {photo.width}x{photo.height} "
            f"(width x height); {advice}"
        )
    if hole.all():
        raise UserError(
            f"the mask marks all {photo.width}x{photo.height} pixels as hole, so there is nothing "
            "to copy from; white (255) should mark only what is to be filled"
        )


def _check_known(mask: npt.NDArray[np.generic], size: tuple[int, int]) -> None:
    if mask.all():
        raise UserError(
            f"at {_told(size)}, the size the model works at, the hole leaves no pixel to copy "
            "from; use a smaller hole or an artifact of a larger size"
        )


def _told(size: tuple[int, int]) -> str:
    return f"{size[0]} px" if size[0] == size[1] else f"{size[1]}x{size[0]} px"


# --- Which part of the photo ---------------------------------------------------------------------


def choose_crop(hole: Bools, window: Window, middle: int | None = None) -> Crop:
    """The part around a hole (bool `[H, W]`, not empty) that goes through a window.

    It is the window itself, so that nothing is resampled, unless the hole needs more: twice its
    extent, for as much context again, in the window's own shape. It is never larger than what
    just holds the photo.

    Where only the `middle` of the window is filled, a square of that side, the crop is as large as
    brings the hole into it, and lies around it wherever the photo ends.
    """
    size = _size(window)
    tall, wide = (end - first for first, end in _box(hole))
    if middle is not None:
        extent = max(tall, wide)
        # Shrunk, a hole covers parts of two pixels more than its own extent, which have to fit.
        scale = Fraction(1) if extent <= middle else Fraction(extent, middle - 2)
        return _centred(hole, (-(-size[0] * scale // 1), -(-size[1] * scale // 1)))
    needed = max(Fraction(2 * tall, size[0]), Fraction(2 * wide, size[1]), Fraction(1))
    whole = max(Fraction(hole.shape[0], size[0]), Fraction(hole.shape[1], size[1]))
    scale = min(needed, whole)
    return _around(hole, (-(-size[0] * scale // 1), -(-size[1] * scale // 1)))


def _around(hole: Bools, size: tuple[int, int]) -> Crop:
    """A crop of a size around the hole, inside the photo if it can be."""
    (top, bottom), (left, right) = _box(hole)
    return Crop(
        _start(top, bottom, hole.shape[0], size[0]),
        _start(left, right, hole.shape[1], size[1]),
        *size,
    )


def _centred(hole: Bools, size: tuple[int, int]) -> Crop:
    """A crop of a size with the hole in its middle."""
    places = zip(_box(hole), size, strict=True)
    top, left = ((first + end - side) // 2 for (first, end), side in places)
    return RepeatedCrop(top, left, *size)


def _box(hole: Bools) -> tuple[tuple[int, int], tuple[int, int]]:
    """First row marked and one past the last, and the same of columns."""
    return _extent(np.any(hole, axis=1)), _extent(np.any(hole, axis=0))


def _extent(marked: Bools) -> tuple[int, int]:
    found = np.flatnonzero(marked)
    return int(found[0]), int(found[-1]) + 1


def _start(first: int, end: int, length: int, side: int) -> int:
    """Where a crop starts along one axis: around first..end, inside the photo if it can be."""
    if length <= side:
        return -((side - length) // 2)  # all of the axis, padded equally at both ends
    return min(max((first + end - side) // 2, 0), length - side)


# --- Photo to window -----------------------------------------------------------------------------


def _cut(photo: Photo, hole: Bools, crop: Crop, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """The crop as the function takes it: image `[1, 3, h, w]` in [0, 1], mask `[1, 1, h, w]`."""
    rows, columns = crop.rows(photo.height), crop.columns(photo.width)
    image = np.empty((1, 3, *size), np.float32)
    # When shrinking, a pixel that mixes in any hole pixel is itself hole (see touched), so
    # known ones are clean. Enlarging reaches over two pixels to each side; marking all of those as
    # hole would cost a small photo much of its context, so there the hole first takes on the
    # nearest known colours, and what bleeds out of it is then the known pixels' own.
    enlarging = _smaller(crop, size)
    nearest = _nearest_known(hole[np.ix_(rows, columns)]) if enlarging else None
    for channel in range(photo.colours):  # one at a time: a crop can be the whole of a large photo
        plane = photo.pixels[..., channel]
        if nearest is None:
            image[0, channel] = shrunk_window(plane, rows, columns, size, photo.full)
        else:
            values = plane[np.ix_(rows, columns)].astype(np.float32) / np.float32(photo.full)
            image[0, channel] = resized(values.ravel()[nearest], size)
    if photo.colours == 1:
        image[0, 1:] = image[0, 0]
    mask = touched_window(hole, rows, columns, size)
    return np.clip(image, 0, 1, out=image), mask[None, None].astype(np.float32)


def _nearest_known(hole: Bools) -> Indices:
    """For each pixel, the flat index of the known pixel nearest to it."""
    _, labels, index_of = _labelled(hole)
    nearest: Indices = index_of[labels]
    return nearest


def _labelled(hole: Bools) -> tuple[Floats, npt.NDArray[np.int32], Indices]:
    """Of each pixel the distance to the nearest known one, its label; and labels' flat indices."""
    distance, labels = cv2.distanceTransformWithLabels(
        hole.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    marks = np.asarray(labels, np.int32)
    known = np.flatnonzero(~hole)
    index_of = np.zeros(int(marks.max()) + 1, np.intp)
    index_of[marks.ravel()[known]] = known
    return np.asarray(distance, np.float32), marks, index_of


# --- Window to photo -----------------------------------------------------------------------------


def _run(fill: Fill, image: Floats, mask: Floats) -> Floats:
    """What `fill` makes of the window, `[3, h, w]`."""
    filled = np.asarray(fill(image, mask), np.float32)
    if filled.shape != image.shape:
        raise RuntimeError(f"the model returned shape {filled.shape}, not {image.shape}")
    bad = int(np.count_nonzero(~np.isfinite(filled)))
    if bad:
        raise RuntimeError(f"the model returned {bad} values that are NaN or infinite")
    planes: Floats = filled[0]
    return planes


def _fill_smaller(
    photo: Photo, hole: Bools, crop: Crop, size: tuple[int, int], fill_photo: FillPhoto
) -> tuple[Floats, Crop]:
    """Fill a copy of what the crop holds of the photo, so small that the crop fits the window.

    Returns:
        The copy, filled, `[3, h, w]`; and which part of the photo it is of.
    """
    rows, columns = _inside(crop, hole.shape)
    part = Crop(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
    height = max(1, round(part.height * size[0] / crop.height))
    width = max(1, round(part.width * size[1] / crop.width))
    known = touched(hole[rows, columns], (height, width))
    _check_known(known, size)
    colours = _colours(photo)[rows, columns]
    small = np.empty((height, width, 3), photo.pixels.dtype)
    for channel in range(3):
        plane = resized(colours[..., channel].astype(np.float32), (height, width))
        small[..., channel] = np.rint(plane)
    top, left = ((length - side) // 2 for length, side in zip((height, width), size, strict=True))
    filled = fill_photo(small, known, min(top, 0), min(left, 0))
    return np.moveaxis(filled, 2, 0).astype(np.float32) / np.float32(photo.full), part


def _colours(photo: Photo) -> Pixels:
    """The photo as RGB `[H, W, 3]`, without alpha."""
    if photo.colours == 3:
        return np.ascontiguousarray(photo.pixels[..., :3])
    return np.repeat(photo.pixels[..., :1], 3, axis=2)


def _take(photo: Photo, hole: Bools, filled: Pixels) -> Photo:
    """A copy of the photo whose hole pixels are those of `filled`, `[H, W, 3]`."""
    result: Pixels = photo.pixels.copy()
    values = filled[hole].astype(np.float32)
    if photo.colours == 1:
        values = values.mean(axis=1, keepdims=True)
    result[..., : photo.colours][hole] = np.rint(values)
    return dataclasses.replace(photo, pixels=result)


def _paste(photo: Photo, hole: Bools, crop: Crop, filled: Floats) -> Photo:
    """A copy of the photo whose hole pixels come from `filled` (`[3, h, w]`, the whole crop)."""
    inside = _inside(crop, hole.shape)
    hole = hole[inside]
    rows, columns = (
        slice(part.start - start, part.stop - start)
        for part, start in zip(inside, (crop.top, crop.left), strict=True)
    )
    result: Pixels = photo.pixels.copy()
    for channel, plane in enumerate(_channels(photo, filled)):
        values = plane[rows, columns][hole]
        result[inside][..., channel][hole] = np.rint(np.clip(values, 0, 1) * photo.full)
    return dataclasses.replace(photo, pixels=result)


def _paste_enlarged(photo: Photo, hole: Bools, filled: Floats, crop: Crop) -> Photo:
    """As `_paste`, of a crop that was shrunk to `filled`; only around the hole is it enlarged.

    What was shrunk is less sharp than the photo, so a line would show around the hole: over as many
    pixels as one of `filled` covers, its colours grow out of the known ones.
    """
    (top, bottom), (left, right) = _box(hole)
    rows = slice(top - crop.top, bottom - crop.top)
    columns = slice(left - crop.left, right - crop.left)
    result: Pixels = photo.pixels.copy()
    part, marked = result[top:bottom, left:right], hole[top:bottom, left:right]
    for band, values in enlarged_bands(_channels(photo, filled), crop.size, rows, columns):
        values = np.rint(np.clip(values, 0, 1) * np.float32(photo.full))
        for channel, plane in enumerate(values):
            part[band][..., channel][marked[band]] = plane[marked[band]]
    around = (slice(max(top - 1, 0), bottom + 1), slice(max(left - 1, 0), right + 1))
    colours = result[..., : photo.colours]
    _feather(colours[around], hole[around], crop.height / filled.shape[1])
    return dataclasses.replace(photo, pixels=result)


def _feather(colours: Pixels, hole: Bools, reach: float) -> None:
    """Let a hole's colours grow out of the known ones, `reach` deep; `[H, W, C]`, in place."""
    distance, labels, index_of = _labelled(hole)
    rows, columns = np.nonzero(hole & (distance < reach + 1))
    sources = np.unravel_index(index_of[labels[rows, columns]], hole.shape)
    known = (1 - distance[rows, columns] / np.float32(reach + 1))[:, None]
    mixed = known * colours[sources] + (1 - known) * colours[rows, columns]
    colours[rows, columns] = np.rint(mixed)


def _channels(photo: Photo, filled: Floats) -> Floats:
    """As many as the photo has colours."""
    if photo.colours == 3:
        return filled
    mean: Floats = np.clip(filled, 0, 1).mean(axis=0, keepdims=True)
    return mean


def _inside(crop: Crop, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The crop's rows and columns that lie in the photo."""
    return (
        slice(max(crop.top, 0), min(crop.top + crop.height, shape[0])),
        slice(max(crop.left, 0), min(crop.left + crop.width, shape[1])),
    )
