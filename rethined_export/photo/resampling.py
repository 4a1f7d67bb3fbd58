"""Planes and holes at another size, without holding more than what is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]
Size = tuple[int, int]

#: Rows enlarged at once, so that what is held between the two axes stays small.
_BAND = 256
#: The cubic's slope, OpenCV's: what is shrunk and enlarged elsewhere is by the same rule.
_CUBIC = -0.75


def resized(plane: Floats, size: Size) -> Floats:
    """A plane at another (height, width): averaged when shrinking, bicubic when enlarging."""
    if plane.shape == size:
        return plane
    smaller = size[0] < plane.shape[0] or size[1] < plane.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(plane, size[::-1], interpolation=how), np.float32)


def touched(hole: Bools, size: Size) -> Bools:
    """A hole at another (height, width): each pixel that covers any part of a hole pixel."""
    # Row by row in memory, as librethined reads it.
    return np.ascontiguousarray(_touched_rows(_touched_rows(hole, size[0]).T, size[1]).T)


def touched_window(hole: Bools, rows: Indices, columns: Indices, size: Size) -> Bools:
    """As `touched`, of rows and columns that may be reflected: `hole[np.ix_(rows, columns)]`."""
    if len(columns) > hole.shape[1] and len(rows) <= hole.shape[0]:
        return touched_window(hole.T, columns, rows, size[::-1]).T
    narrow = _touched_rows(hole.T[columns], size[1]).T  # of the hole's own rows, none twice
    return _touched_rows(narrow[rows], size[0])


def _touched_rows(hole: Bools, count: int) -> Bools:
    length = len(hole)
    first = np.arange(count) * length // count
    last = -(-(np.arange(count) + 1) * length // count)
    # Each stretch up to where the next begins, and the one row that both may cover.
    made: Bools = np.logical_or.reduceat(hole, first, axis=0) | hole[last - 1]
    return made


def shrunk_window(
    plane: npt.NDArray[Any], rows: Indices, columns: Indices, size: Size, full: int
) -> Floats:
    """`plane[np.ix_(rows, columns)] / full`, averaged to a smaller (height, width).

    Where rows or columns are reflected, one axis is shrunk before the other is spread out: a
    window may be as high as a panorama is long.
    """
    height, width = plane.shape
    shrinks = len(rows) > size[0] or len(columns) > size[1]
    if shrinks and len(rows) > height:
        lines = plane[:, columns].astype(np.float32) / np.float32(full)
        return resized(resized(lines, (height, size[1]))[rows], size)
    if shrinks and len(columns) > width and len(rows) <= height:
        return shrunk_window(plane.T, columns, rows, size[::-1], full).T
    return resized(plane[np.ix_(rows, columns)].astype(np.float32) / np.float32(full), size)


def enlarged_bands(
    planes: Floats, size: Size, rows: slice, columns: slice
) -> Iterator[tuple[slice, Floats]]:
    """Part of planes enlarged bicubically, band by band from the top.

    Args:
        planes: `[C, h, w]`.
        size: (height, width) that all of them would be enlarged to.
        rows, columns: which part of that.

    Yields:
        Rows within the part, and what is in them, `[C, n, W]`.
    """
    across, across_weights = _taps(planes.shape[2], size[1], columns)
    for top in range(rows.start, rows.stop, _BAND):
        band = slice(top, min(top + _BAND, rows.stop))
        down, down_weights = _taps(planes.shape[1], size[0], band)
        tall = _mixed([planes[:, down[:, t]] for t in range(4)], down_weights[..., None])
        made = _mixed([tall[..., across[:, t]] for t in range(4)], across_weights)
        yield slice(band.start - rows.start, band.stop - rows.start), made


def _mixed(parts: list[Floats], weights: Floats) -> Floats:
    """Sum of parts, each by its own column of the weights."""
    made = parts[0] * weights[:, 0]
    for number, part in enumerate(parts[1:], 1):
        made += part * weights[:, number]
    return made


def _taps(length: int, size: int, part: slice) -> tuple[Indices, Floats]:
    """Of each place in a part of `size`, the four of `length` around it and their weights."""
    at = (np.arange(part.start, part.stop) + 0.5) * (length / size) - 0.5
    below = np.floor(at)
    near = at - below
    apart = np.stack([near + 1, near, 1 - near, 2 - near], axis=1)
    inner = ((_CUBIC + 2) * apart - (_CUBIC + 3)) * apart * apart + 1
    outer = ((_CUBIC * apart - 5 * _CUBIC) * apart + 8 * _CUBIC) * apart - 4 * _CUBIC
    weights = np.where(apart <= 1, inner, outer)
    places = below[:, None] + np.arange(-1, 3)
    return np.clip(places, 0, length - 1).astype(np.intp), weights.astype(np.float32)
