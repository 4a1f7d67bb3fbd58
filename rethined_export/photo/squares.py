"""Running a fixed-size square function on a photo of any size and shape.

One square crop around the hole goes through the function, at the photo's own resolution where it
fits, and only the hole's pixels are taken from what comes back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from rethined_export.errors import UserError
from rethined_export.photo.files import Photo, Pixels
from rethined_export.recipes.rethined.caller import reflected

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

# image float32 [1, 3, S, S] in [0, 1], mask float32 [1, 1, S, S] (1 = hole) -> image like the first
Fill = Callable[[Floats, Floats], Floats]
# photo [H, W, 3] uint8 or uint16, hole [H, W], top and left of the square -> photo, hole filled
FillPhoto = Callable[[Pixels, Bools, int, int], Pixels]


@dataclass(frozen=True)
class Crop:
    """A square of `side` photo pixels; negative `top` or `left`: it begins outside, in padding."""

    top: int
    left: int
    side: int

    def rows(self, height: int) -> Indices:
        """The photo row of each of the crop's `side` rows; reflected where outside the photo."""
        return reflected(self.top, self.side, height)

    def columns(self, width: int) -> Indices:
        """The photo column of each of the crop's `side` columns; reflected where outside."""
        return reflected(self.left, self.side, width)


def inpaint(
    photo: Photo, hole: Bools, fill: Fill, side: int, fill_photo: FillPhoto | None = None
) -> Photo:
    """Fill the photo's hole (bool `[H, W]`) with `fill`, a function of `side` x `side` squares.

    Where nothing has to be resampled and `fill_photo` is given, that one fills the photo instead.

    All pixels outside the hole, and alpha everywhere, come back as they are. An empty hole returns
    the photo itself. Raises UserError where the mask does not suit the photo, RuntimeError where
    `fill` returns the wrong shape or values that are not finite.
    """
    _check_mask(photo, hole)
    if not hole.any():
        return photo
    crop = choose_crop(hole, side)
    if fill_photo is not None and max(photo.height, photo.width) <= side:
        top, left = (_start(0, length, length, side) for length in (photo.height, photo.width))
        crop = Crop(top, left, side)
    if fill_photo is not None and crop.side == side:
        return _take(photo, hole, fill_photo(_colours(photo), hole, crop.top, crop.left))
    image, mask = _cut(photo, hole, crop, side)
    if mask.all():
        raise UserError(
            f"at {side} px, the size the model works at, the hole leaves no pixel to copy from; "
            "use a smaller hole or an artifact of a larger size"
        )
    filled = _run(fill, image, mask)
    if crop.side != side:
        # Enlarging mixes neighbours, and beside the hole they should be the photo's own pixels.
        filled = np.where(mask[0] > 0, filled, image[0])
    return _paste(photo, hole, crop, filled)


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


# --- Which part of the photo ---------------------------------------------------------------------


def choose_crop(hole: Bools, side: int) -> Crop:
    """The square around a hole (bool `[H, W]`, not empty) that goes through a `side` px function.

    It is `side` wide, so that nothing is resampled, unless the hole needs more: twice its longest
    side, for as much context again. It never exceeds the photo's longer side.
    """
    height, width = hole.shape
    top, bottom = _extent(np.any(hole, axis=1))
    left, right = _extent(np.any(hole, axis=0))
    longest = max(bottom - top, right - left)
    size = min(max(side, 2 * longest), max(height, width))
    return Crop(_start(top, bottom, height, size), _start(left, right, width, size), size)


def _extent(marked: Bools) -> tuple[int, int]:
    """First index marked, and one past the last."""
    found = np.flatnonzero(marked)
    return int(found[0]), int(found[-1]) + 1


def _start(first: int, end: int, length: int, side: int) -> int:
    """Where a crop starts along one axis: around first..end, inside the photo if it can be."""
    if length <= side:
        return -((side - length) // 2)  # all of the axis, padded equally at both ends
    return min(max((first + end - side) // 2, 0), length - side)


# --- Photo to square -----------------------------------------------------------------------------


def _cut(photo: Photo, hole: Bools, crop: Crop, side: int) -> tuple[Floats, Floats]:
    """The crop as the function takes it: image `[1, 3, S, S]` in [0, 1], mask `[1, 1, S, S]`."""
    window = np.ix_(crop.rows(photo.height), crop.columns(photo.width))
    hole = hole[window]
    image = np.empty((1, 3, side, side), np.float32)
    # When shrinking, a pixel that mixes in any hole pixel is itself hole (see _touched), so
    # known ones are clean. Enlarging reaches over two pixels to each side; marking all of those as
    # hole would cost a small photo much of its context, so there the hole first takes on the
    # nearest known colours, and what bleeds out of it is then the known pixels' own.
    nearest = _nearest_known(hole) if crop.side < side else None
    for channel in range(photo.colours):  # one at a time: a crop can be the whole of a large photo
        plane = photo.pixels[..., channel][window].astype(np.float32)
        plane /= photo.full
        if nearest is not None:
            plane = plane.ravel()[nearest]
        image[0, channel] = _resize(plane, side)
    if photo.colours == 1:
        image[0, 1:] = image[0, 0]
    mask = hole if crop.side == side else _touched(hole, side)
    return np.clip(image, 0, 1, out=image), mask[None, None].astype(np.float32)


def _resize(plane: Floats, side: int) -> Floats:
    """A square plane at another side: averaged when shrinking, bicubic when enlarging."""
    if plane.shape[0] == side:
        return plane
    how = cv2.INTER_AREA if side < plane.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(plane, (side, side), interpolation=how), np.float32)


def _touched(hole: Bools, side: int) -> Bools:
    """The hole at another side: each pixel that covers any part of a hole pixel."""
    size = hole.shape[0]
    edges = [(i * size // side, -(-(i + 1) * size // side)) for i in range(side)]
    rows = np.stack([hole[start:end].any(axis=0) for start, end in edges])
    return np.stack([rows[:, start:end].any(axis=1) for start, end in edges], axis=1)


def _nearest_known(hole: Bools) -> Indices:
    """For each pixel of a square, the flat index of the known pixel nearest to it."""
    _, labels = cv2.distanceTransformWithLabels(
        hole.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    labels = np.asarray(labels, np.intp)
    known = np.flatnonzero(~hole)
    index_of = np.zeros(int(labels.max()) + 1, np.intp)
    index_of[labels.ravel()[known]] = known
    nearest: Indices = index_of[labels]
    return nearest


# --- Square to photo -----------------------------------------------------------------------------


def _run(fill: Fill, image: Floats, mask: Floats) -> Floats:
    """What `fill` makes of the square, `[3, S, S]`."""
    filled = np.asarray(fill(image, mask), np.float32)
    if filled.shape != image.shape:
        raise RuntimeError(f"the model returned shape {filled.shape}, not {image.shape}")
    bad = int(np.count_nonzero(~np.isfinite(filled)))
    if bad:
        raise RuntimeError(f"the model returned {bad} values that are NaN or infinite")
    planes: Floats = filled[0]
    return planes


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
    """A copy of the photo whose hole pixels come from `filled` (`[3, S, S]`, the whole crop)."""
    top, left = max(crop.top, 0), max(crop.left, 0)
    inside = (slice(top, crop.top + crop.side), slice(left, crop.left + crop.side))
    hole = hole[inside]
    height, width = hole.shape
    first_row, first_column = top - crop.top, left - crop.left
    rows, columns = slice(first_row, first_row + height), slice(first_column, first_column + width)
    result: Pixels = photo.pixels.copy()
    planes = np.clip(filled, 0, 1).mean(axis=0, keepdims=True) if photo.colours == 1 else filled
    for channel, plane in enumerate(planes):
        values = _resize(plane, crop.side)[rows, columns][hole]
        result[inside][..., channel][hole] = np.rint(np.clip(values, 0, 1) * photo.full)
    return dataclasses.replace(photo, pixels=result)
