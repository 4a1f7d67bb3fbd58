"""Full-resolution patches by a patch program: its sources are cut, and its patches pasted, here.

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
#: Low-resolution pixels read around a patch.
LOW_HALO = 2
_WINDOW = PATCH + 2 * LOW_HALO


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
        self._rows = reflected(top, LOW_RESOLUTION * scale, photo.shape[0])
        self._columns = reflected(left, LOW_RESOLUTION * scale, photo.shape[1])
        self.full = 1.0 if photo.dtype == np.float32 else float(np.iinfo(photo.dtype).max)

    def patches(self, tokens: Ints) -> Floats:
        """Photo at tokens, ``[M, p, 3, p]`` in its own numbers, 0 to ``full``."""
        count, size = len(tokens), self.size
        found = np.empty((count, size, size, 3), self.photo.dtype)
        tops, lefts = self._places(tokens)
        whole = self._covers(tops, lefts)
        if whole.any():
            flat = self.photo.reshape(len(self.photo), -1)
            views = np.lib.stride_tricks.sliding_window_view(flat, (size, size * 3))
            found.reshape(count, size, -1)[whole] = views[tops[whole], lefts[whole] * 3]
        for place in np.flatnonzero(~whole).tolist():
            row, column = divmod(int(tokens[place]), GRID)
            rows = self._rows[row * size : (row + 1) * size]
            columns = self._columns[column * size : (column + 1) * size]
            found[place] = _window(self.photo, rows, columns)
        pixels = np.empty((count * size, 3, size), np.float32)
        for channel, plane in enumerate(cv2.split(found.reshape(count * size, size, 3))):
            pixels[:, channel] = plane
        return pixels.reshape(count, size, 3, size)

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

    def _covers(self, tops: Ints, lefts: Ints) -> Bools:
        """Which patches lie in the photo."""
        height, width = self.hole.shape
        ends = (tops + self.size <= height) & (lefts + self.size <= width)
        return np.asarray((tops >= 0) & (lefts >= 0) & ends, np.bool_)


def complete(patch: Runner, square: Square, filling: Filling) -> None:
    """Make the full-resolution patches that were chosen, and paste them.

    Args:
        patch: takes ``sources`` ``[B·k, p, 3, p]``, ``low_sources`` ``[B·k, 12, 3, 12]``,
            ``low_targets`` ``[B, 12, 3, 12]`` and, if k > 1, ``weights`` ``[B, k]``; gives
            ``patches`` ``[B, p, 3, p]``.
    """
    tokens = np.flatnonzero(filling.hole)
    low = LowWindows(filling.low * np.float32(square.full))
    for start in range(0, len(tokens), BATCH):
        some = tokens[start : start + BATCH]
        square.paste(some, _patches(patch, square, low, filling, some))


class LowWindows:
    """x̂_LR around tokens, its border repeated.

    Args:
        low: ``[512, 3, 512]``, in the photo's own numbers: the patch program is linear, so its
            scale is that of its inputs.
    """

    def __init__(self, low: Floats) -> None:
        framed = np.pad(low, ((LOW_HALO,) * 2, (0, 0), (LOW_HALO,) * 2), mode="edge")
        self._views: Floats = np.lib.stride_tricks.sliding_window_view(  # type: ignore[call-overload]
            framed, (_WINDOW, _WINDOW), axis=(0, 2)
        )

    def around(self, tokens: Ints) -> Floats:
        """``[M, 12, 3, 12]``."""
        found = self._views[tokens // GRID * PATCH, :, tokens % GRID * PATCH]
        return np.ascontiguousarray(found.transpose(0, 2, 1, 3))


def _patches(
    patch: Runner, square: Square, low: LowWindows, filling: Filling, tokens: Ints
) -> Floats:
    """Full-resolution patches of some tokens, ``[M, p, 3, p]``; at most a batch."""
    listed = np.resize(tokens, BATCH)  # spare places repeat the tokens
    chosen = filling.indices[listed].astype(np.intp).reshape(-1)
    inputs: dict[str, Array] = {
        "sources": square.patches(chosen),
        "low_sources": low.around(chosen),
        "low_targets": low.around(listed),
    }
    # Of fewer known patches than k, hole tokens are the last: they weigh nothing, whatever the
    # photo holds there.
    inside = filling.hole[chosen]
    inputs["sources"][inside] = 0
    inputs["low_sources"][inside] = 0
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
