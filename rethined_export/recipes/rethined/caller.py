"""The caller of a split pair: fills the hole of a photo of any size, and touches nothing else.

A split pair is two programs. The *low* one sees the photo at 512² and says, for each hole token,
what it looks like there and which known patch to copy. The *patch* one makes full-resolution
patches out of the photo's own. Everything between is done here: shrinking the photo, cutting
windows out of it, and pasting. No image of full resolution but the photo itself is ever held.
`docs/runtime.md` tells the same for callers in Swift and Kotlin.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rethined_export.converters.types import Array, Runner
from rethined_export.photo.window import reflected
from rethined_export.recipes.rethined.native import NothingKnownError

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]
Pixels = npt.NDArray[Any]

LOW_RESOLUTION, PATCH, GRID = 512, 8, 64
#: Patches that one run of the patch program fills: few enough to stay in a core's cache.
BATCH = 32
TOKENS = GRID * GRID
#: Pixels read around a source patch, and low-resolution pixels read around any patch.
HALO, LOW_HALO = 3, 3
_WINDOW = PATCH + 2 * LOW_HALO
#: What lies beyond a window's first or last patch pixel is what lies before it, reflected.
_AFTER_FIRST = slice(2 * HALO, HALO, -1)
_BEFORE_LAST = slice(-HALO - 2, -2 * HALO - 2, -1)
#: Full-resolution rows shrunk at once, in eights: they stay in cache, and bound what is held.
_STRIP = 8
#: How far the neighbours of a token lie from it in the list of all tokens.
_REACH = GRID + 1


@dataclass(frozen=True)
class Pair:
    """A split pair, loaded.

    Attributes:
        low: takes ``image`` ``[1, 3, 512, 512]``, ``mask`` ``[1, 1, 512, 512]``, ``tokens``
            ``[K]`` and, with a coherence layer, ``rows`` ``[4096]``; gives ``low``
            ``[K, 8, 3, 8]``, ``composite`` ``[1, 3, 512, 512]``, ``indices`` and ``scores``
            ``[1, K, k]``.
        patch: takes ``sources`` ``[B·k, e, 3, e]``, ``low_targets`` ``[B, 14, 3, 14]`` and, if
            k > 1, ``weights`` ``[B, k]``; gives ``patches`` ``[B, p, 3, p]``. None at s = 1.
        scale: s; the pair fills photos of up to 512·s pixels a side.
        budget: K. top_k: k. B is 32.
    """

    low: Runner
    patch: Runner | None
    scale: int
    budget: int
    top_k: int

    @property
    def coherence(self) -> bool:
        """The low program has a coherence layer, which looks at a token's neighbours."""
        return "rows" in self.low.takes


@dataclass(frozen=True)
class Choice:
    """What the low program found, for every token; rows of known tokens carry no meaning.

    Attributes:
        hole: flags ``[4096]``.
        low: x̂_LR ``[512, 3, 512]``: rows, channels, columns.
        indices, scores: ``[4096, k]``.
    """

    hole: Bools
    low: Floats
    indices: npt.NDArray[np.int32]
    scores: Floats


class PairRunner:
    """A split pair as a function from image and mask to image, for comparing it with torch."""

    def __init__(self, pair: Pair, name: str) -> None:
        self._pair, self.name = pair, name
        self.takes = frozenset({"image", "mask"})

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """``image`` ``[1, 3, S, S]`` and ``mask`` ``[1, 1, S, S]``; the outputs of a whole."""
        photo = np.array(inputs["image"][0].transpose(1, 2, 0), np.float32, order="C")
        square = Square(photo, inputs["mask"][0, 0] > 0, self._pair.scale)
        choice = fill(self._pair, square)
        return {
            "output": photo.transpose(2, 0, 1)[None],
            "indices": choice.indices[None],
            "scores": choice.scores[None],
        }


def count_tokens(hole: Bools) -> int:
    """Tokens of the grid that hold any pixel of a hole ``[S, S]``."""
    return int(np.count_nonzero(_any(hole, len(hole) // GRID)))


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

    def shrink(self) -> tuple[Floats, Floats]:
        """x_LR before its hole is cut, ``[1, 3, 512, 512]``, and m_LR ``[1, 1, 512, 512]``.

        A low-resolution pixel is the mean of its s × s pixels, and hole where any of them is.
        """
        image = np.empty((LOW_RESOLUTION, LOW_RESOLUTION, 3), np.float32)
        mask = np.empty((LOW_RESOLUTION, LOW_RESOLUTION), np.bool_)
        lines = PATCH * -(-_STRIP // self.scale)
        rows, columns = self._framed_rows[HALO:-HALO], self._framed_columns[HALO:-HALO]
        for line in range(0, LOW_RESOLUTION, lines):
            some = rows[line * self.scale : (line + lines) * self.scale]
            part = slice(line, line + lines)
            image[part] = _mean(_window(self.photo, some, columns), self.scale)
            mask[part] = _any(_window(self.hole, some, columns), self.scale)
        image *= np.float32(1 / self.full)
        return image.transpose(2, 0, 1)[None], mask[None, None].astype(np.float32)

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


def fill(pair: Pair, square: Square) -> Choice:
    """Fill the hole under a square, in place; known pixels are not written.

    Returns:
        What was copied from where.

    Raises:
        NothingKnownError: the hole touches every patch.
    """
    image, mask = square.shrink()
    choice = choose(pair, image, mask)
    complete(pair, square, choice)
    return choice


def complete(pair: Pair, square: Square, choice: Choice) -> None:
    """Make the full-resolution patches that were chosen, and paste them."""
    tokens = np.flatnonzero(choice.hole)
    if pair.patch is None:
        square.paste(tokens, _low_patches(choice.low, tokens) * np.float32(square.full))
        return
    sources = Sources(square, choice)
    for start in range(0, len(tokens), BATCH):
        some = tokens[start : start + BATCH]
        square.paste(some, _patches(pair, sources, choice, some))


def choose(pair: Pair, image: Floats, mask: Floats) -> Choice:
    """Run the low program as often as the hole needs.

    Args:
        image: x_LR ``[1, 3, 512, 512]``; mask: m_LR ``[1, 1, 512, 512]``.

    Raises:
        NothingKnownError: the hole touches every patch.
    """
    hole = _any(mask[0, 0] > 0, PATCH).reshape(-1)
    if hole.all():
        raise NothingKnownError("the hole leaves no whole patch to copy from; use a smaller hole")
    found: Choice | None = None
    reach = _REACH if pair.coherence else 0
    for tokens, done in windows(np.flatnonzero(hole), pair.budget, reach):
        listed = np.zeros(pair.budget, np.int32)
        listed[: len(tokens)] = tokens
        inputs: dict[str, Array] = {"image": image, "mask": mask, "tokens": listed}
        if pair.coherence:
            inputs["rows"] = np.full(TOKENS, pair.budget, np.int32)
            inputs["rows"][tokens] = np.arange(len(tokens))
        made = pair.low(**inputs)
        if found is None:
            found = Choice(
                hole,
                made["composite"][0].transpose(1, 0, 2).astype(np.float32, order="C"),
                np.zeros((TOKENS, pair.top_k), np.int32),
                np.zeros((TOKENS, pair.top_k), np.float32),
            )
        _note(found, made, tokens, done)
    assert found is not None
    return found


def windows(tokens: Ints, budget: int, reach: int) -> Iterator[tuple[Ints, Bools]]:
    """Parts of a list of hole tokens for the low program, and which of each part it fills exactly.

    The coherence layer needs a token's neighbours in the same part: parts overlap, so that every
    token is exact in one.

    Args:
        tokens: ascending. budget: K, more than twice the reach.
        reach: how far a token's neighbours lie from it in the list of all; 0 if none is needed.
    """
    start = 0
    while True:
        part = tokens[start : start + budget]
        end = start + len(part)
        done = np.ones(len(part), np.bool_)
        if start > 0:
            done &= part - reach > tokens[start - 1]
        if end < len(tokens):
            done &= part + reach < tokens[end]
        yield part, done
        if end == len(tokens):
            return
        following = tokens[start + np.flatnonzero(done)[-1] + 1]
        start = int(np.searchsorted(tokens, following - reach))


def _note(found: Choice, made: dict[str, Array], tokens: Ints, done: Bools) -> None:
    """Keep what the low program says of the tokens it fills exactly."""
    kept, places = tokens[done], np.flatnonzero(done)
    found.indices[kept] = made["indices"][0][places]
    found.scores[kept] = made["scores"][0][places]
    grid = found.low.reshape(GRID, PATCH, 3, GRID, PATCH)
    grid[kept // GRID, :, :, kept % GRID] = made["low"][places]


def _low_patches(low: Floats, tokens: Ints) -> Floats:
    """``[M, 8, 3, 8]``."""
    grid = low.reshape(GRID, PATCH, 3, GRID, PATCH)
    patches: Floats = grid[tokens // GRID, :, :, tokens % GRID]
    return patches


class Sources:
    """What patches are made of: the photo, its hole filled with x̂_LR enlarged, patch by patch.

    All in the photo's own numbers: the patch program is linear, so its scale is that of its inputs.
    """

    def __init__(self, square: Square, choice: Choice) -> None:
        self._square = square
        low = choice.low * np.float32(square.full)
        self._low = np.pad(low, ((LOW_HALO,) * 2, (0, 0), (LOW_HALO,) * 2), mode="edge")
        grid = choice.hole.reshape(GRID, GRID).astype(np.uint8)
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


def _patches(pair: Pair, sources: Sources, choice: Choice, tokens: Ints) -> Floats:
    """Full-resolution patches of some tokens, ``[M, p, 3, p]``; at most a batch."""
    listed = np.resize(tokens, BATCH)  # spare places repeat the tokens
    inputs: dict[str, Array] = {
        "sources": sources.around(choice.indices[listed].astype(np.intp).reshape(-1)),
        "low_targets": sources.low(listed),
    }
    if pair.top_k > 1:
        inputs["weights"] = softmax(choice.scores[listed])
    assert pair.patch is not None
    made: Floats = np.asarray(pair.patch(**inputs)["patches"], np.float32)
    return made[: len(tokens)]


def softmax(scores: Floats) -> Floats:
    """Weights of k scores, ``[M, k]``."""
    grown = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights: Floats = grown / grown.sum(axis=1, keepdims=True)
    return weights


def _mean(strip: Pixels, scale: int) -> Floats:
    """Mean of s × s pixels: ``[h·s, w·s, 3]`` to ``[h, w, 3]``."""
    height, width = strip.shape[0] // scale, strip.shape[1]
    # Sums of at most 16 pixels: no type overflows.
    exact = {np.dtype(np.uint8): np.uint16, np.dtype(np.uint16): np.uint32}.get(strip.dtype)
    lines = np.ascontiguousarray(strip).reshape(height, scale, width * 3)
    summed = np.add.reduce(lines, axis=1, dtype=exact or np.float32).reshape(height, width, 3)
    small = cv2.resize(
        summed.astype(np.float32), (width // scale, height), interpolation=cv2.INTER_AREA
    )
    return np.asarray(small * np.float32(1 / scale), np.float32)


def _any(flags: Bools, size: int) -> Bools:
    """Whether any of size × size flags is set."""
    height, width = flags.shape
    lines = np.ascontiguousarray(flags).reshape(height // size, size, width)
    tall = np.logical_or.reduce(lines, axis=1)
    # Column by column: numpy reduces a short last axis many times slower.
    found: Bools = np.logical_or.reduce([tall[:, first::size] for first in range(size)])
    return found


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
