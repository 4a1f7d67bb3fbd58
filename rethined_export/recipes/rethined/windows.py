"""Full-resolution patches by a patch program: its windows are cut, and its patches pasted, here.

librethined makes patches without any program; this is for a pair exported with ``--patch-program``,
whose arithmetic is all in graphs. `docs/runtime.md` tells the steps.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rethined_export.converters.types import Array, Runner
from rethined_export.photo.window import reflected

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]
Pixels = npt.NDArray[Any]

LOW_RESOLUTION, PATCH, GRID = 512, 8, 64
#: Patches that one run of the patch program fills: few enough to stay in a core's cache.
BATCH = 32
#: Pixels read around a source patch, and low-resolution pixels read around any patch.
HALO, LOW_HALO = 3, 3
_WINDOW = PATCH + 2 * LOW_HALO
#: What lies beyond a window's first or last patch pixel is what lies before it, reflected.
_AFTER_FIRST = slice(2 * HALO, HALO, -1)
_BEFORE_LAST = slice(-HALO - 2, -2 * HALO - 2, -1)


@dataclass(frozen=True)
class Filling:
    """What the hole tokens of a photo copy; rows of known tokens carry no meaning.

    Attributes:
        hole: flags ``[4096]``.
        low: x̂_LR ``[512, 3, 512]``: rows, channels, columns.
        indices, scores: ``[4096, k]``.
    """

    hole: Bools
    low: Floats
    indices: npt.NDArray[np.int32]
    scores: Floats


class Square:
    """A photo under the square of the token grid, reflected where it does not reach.

    Args:
        photo: ``[H, W, 3]``, contiguous, uint8, uint16 or float32 in [0, 1]; not copied, and
            pasted into.
        hole: ``[H, W]``.
        scale: s.
        top, left: where the square begins in the photo, in its pixels; negative: outside it.
    """

    def __init__(self, photo: Pixels, hole: Bools, scale: int, top: int = 0, left: int = 0) -> None:
        self.photo, self.hole, self.scale = photo, hole, scale
        self.size = PATCH * scale
        self.top, self.left = top, left
        framed = LOW_RESOLUTION * scale + 2 * HALO
        self._framed_rows = reflected(top - HALO, framed, photo.shape[0])
        self._framed_columns = reflected(left - HALO, framed, photo.shape[1])
        self.full = 1.0 if photo.dtype == np.float32 else float(np.iinfo(photo.dtype).max)

    def windows(self, tokens: Ints) -> Floats:
        """Photo around tokens, ``[M, e, 3, e]`` in its own numbers, 0 to ``full``.

        What they hold beyond the square's border means nothing.
        """
        found = self._cut(self.photo, tokens)
        count, side = found.shape[:2]
        pixels = np.empty((count * side, 3, side), np.float32)
        for channel, plane in enumerate(cv2.split(found.reshape(count * side, side, 3))):
            pixels[:, channel] = plane
        return pixels.reshape(count, side, 3, side)

    def hole_windows(self, tokens: Ints) -> Bools:
        """Hole around tokens, ``[M, e, 1, e]``; beyond the square it means nothing."""
        return self._cut(self.hole[:, :, None], tokens).transpose(0, 1, 3, 2)

    def _cut(self, plane: Pixels, tokens: Ints) -> Pixels:
        """Windows of ``[H, W, C]`` around tokens, ``[M, e, e, C]``."""
        side, channels = self.size + 2 * HALO, plane.shape[2]
        found = np.empty((len(tokens), side, side * channels), plane.dtype)
        flat = plane.reshape(len(plane), -1)
        tops, lefts = self._places(tokens)
        tops, lefts = tops - HALO, lefts - HALO
        whole = self._covers(tops, lefts, side)
        if whole.any():
            views = np.lib.stride_tricks.sliding_window_view(flat, (side, side * channels))
            found[whole] = views[tops[whole], lefts[whole] * channels]
        found = found.reshape(-1, side, side, channels)
        for place in np.flatnonzero(~whole).tolist():
            row, column = tops[place] - self.top + HALO, lefts[place] - self.left + HALO
            rows = self._framed_rows[row : row + side]
            found[place] = _window(plane, rows, self._framed_columns[column : column + side])
        return found

    def paste(self, tokens: Ints, patches: Floats) -> None:
        """Write the hole's pixels of some tokens into the photo.

        Args:
            patches: ``[M, p, 3, p]`` in the photo's own numbers; rounded half to even, clipped.
        """
        size = self.size
        planes = self._as_stored(patches.reshape(-1, 3 * size)).reshape(-1, 3, size)
        pixels = cv2.merge([planes[:, channel] for channel in range(3)])
        pixels = pixels.reshape(-1, size, size, 3)
        height, width = self.hole.shape
        flags = self.hole.view(np.uint8)
        tops, lefts = self._places(tokens)
        for place, (top, left) in enumerate(zip(tops.tolist(), lefts.tolist(), strict=True)):
            rows, down = _overlap(top, size, height)
            columns, across = _overlap(left, size, width)
            target = self.photo[rows, columns]
            if target.size:  # a token may lie wholly beyond the photo
                cv2.copyTo(pixels[place][down, across], flags[rows, columns], target)

    def _as_stored(self, values: Floats) -> Pixels:
        depth = {np.dtype(np.uint8): cv2.CV_8U, np.dtype(np.uint16): cv2.CV_16U}
        if self.photo.dtype not in depth:
            return values
        # All in one pass; the second summand is there because OpenCV asks for one.
        made = cv2.addWeighted(values, 1, values, 0, 0, dtype=depth[self.photo.dtype])
        return np.asarray(made)

    def _places(self, tokens: Ints) -> tuple[Ints, Ints]:
        """Photo row and column at which the patches of tokens begin."""
        return tokens // GRID * self.size + self.top, tokens % GRID * self.size + self.left

    def _covers(self, tops: Ints, lefts: Ints, side: int) -> Bools:
        """Which windows lie in the photo."""
        height, width = self.hole.shape
        begins = (tops >= 0) & (lefts >= 0)
        return np.asarray(begins & (tops + side <= height) & (lefts + side <= width), np.bool_)


def complete(patch: Runner, square: Square, filling: Filling) -> None:
    """Make the full-resolution patches that were chosen, and paste them.

    Args:
        patch: takes ``sources`` ``[B·k, e, 3, e]``, ``low_targets`` ``[B, 14, 3, 14]`` and, if
            k > 1, ``weights`` ``[B, k]``; gives ``patches`` ``[B, p, 3, p]``.
    """
    tokens = np.flatnonzero(filling.hole)
    sources = Sources(square, filling)
    for start in range(0, len(tokens), BATCH):
        some = tokens[start : start + BATCH]
        square.paste(some, _patches(patch, sources, filling, some))


class Sources:
    """What patches are made of: the photo, its hole filled with x̂_LR enlarged, patch by patch.

    All in the photo's own numbers: the patch program is linear, so its scale is that of its inputs.
    """

    def __init__(self, square: Square, filling: Filling) -> None:
        self._square = square
        low = filling.low * np.float32(square.full)
        self._low = np.pad(low, ((LOW_HALO,) * 2, (0, 0), (LOW_HALO,) * 2), mode="edge")
        grid = filling.hole.reshape(GRID, GRID).astype(np.uint8)
        self._beside_hole = cv2.dilate(grid, np.ones((3, 3), np.uint8)).reshape(-1) > 0
        # Enlarging is linear: the identity, enlarged, is its matrix ``[e, 14]``.
        identity, scale = np.eye(_WINDOW, dtype=np.float32), square.scale
        tall = cv2.resize(identity, (_WINDOW, _WINDOW * scale), interpolation=cv2.INTER_CUBIC)
        self._enlarging: Floats = np.asarray(
            tall[LOW_HALO * scale - HALO : HALO - LOW_HALO * scale], np.float32
        )

    def around(self, tokens: Ints) -> Floats:
        """Windows around tokens, reflected at the square's border: ``[M, e, 3, e]``."""
        windows = self._square.windows(tokens)
        if (places := np.flatnonzero(self._beside_hole[tokens])).size:
            holes = self._square.hole_windows(tokens[places])
            windows[places] = np.where(holes, self._enlarged(tokens[places]), windows[places])
        rows, columns = tokens // GRID, tokens % GRID
        windows[rows == 0, :HALO] = windows[rows == 0, _AFTER_FIRST]
        windows[rows == GRID - 1, -HALO:] = windows[rows == GRID - 1, _BEFORE_LAST]
        windows[columns == 0, ..., :HALO] = windows[columns == 0, ..., _AFTER_FIRST]
        windows[columns == GRID - 1, ..., -HALO:] = windows[columns == GRID - 1, ..., _BEFORE_LAST]
        return windows

    def low(self, tokens: Ints) -> Floats:
        """Windows of x̂_LR around tokens: ``[M, 14, 3, 14]``."""
        views: Floats = np.lib.stride_tricks.sliding_window_view(  # type: ignore[call-overload]
            self._low, (_WINDOW, _WINDOW), axis=(0, 2)
        )
        found = views[tokens // GRID * PATCH, :, tokens % GRID * PATCH]
        return np.ascontiguousarray(found.transpose(0, 2, 1, 3))

    def _enlarged(self, tokens: Ints) -> Floats:
        """x̂_LR around tokens at full resolution, ``[M, e, 3, e]``."""
        low = self.low(tokens).reshape(-1, _WINDOW, 3 * _WINDOW)
        tall = np.matmul(self._enlarging, low).reshape(-1, len(self._enlarging), 3, _WINDOW)
        enlarged: Floats = np.matmul(tall, self._enlarging.T)
        return enlarged


def _patches(patch: Runner, sources: Sources, filling: Filling, tokens: Ints) -> Floats:
    """Full-resolution patches of some tokens, ``[M, p, 3, p]``; at most a batch."""
    listed = np.resize(tokens, BATCH)  # spare places repeat the tokens
    inputs: dict[str, Array] = {
        "sources": sources.around(filling.indices[listed].astype(np.intp).reshape(-1)),
        "low_targets": sources.low(listed),
    }
    if filling.indices.shape[1] > 1:
        inputs["weights"] = softmax(filling.scores[listed])
    made: Floats = np.asarray(patch(**inputs)["patches"], np.float32)
    return made[: len(tokens)]


def softmax(scores: Floats) -> Floats:
    """Weights of k scores, ``[M, k]``."""
    grown = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights: Floats = grown / grown.sum(axis=1, keepdims=True)
    return weights


def _window(plane: Pixels, rows: Ints, columns: Ints) -> Pixels:
    """Rows and columns of a plane: a view where they follow each other."""
    if _ascending(rows) and _ascending(columns):
        return plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return plane[np.ix_(rows, columns)]


def _ascending(indices: Ints) -> bool:
    """Whether indices that step by at most one each rise by one each."""
    return bool(indices[-1] - indices[0] == len(indices) - 1)


def _overlap(start: int, size: int, length: int) -> tuple[slice, slice]:
    """Which of 0..length a stretch covers, and which part of the stretch that is."""
    first = max(start, 0)
    last = max(min(start + size, length), first)
    return slice(first, last), slice(first - start, last - start)
