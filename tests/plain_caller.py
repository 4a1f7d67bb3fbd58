"""A split pair's caller in NumPy and OpenCV: the plain twin of librethined."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from rethined_export.converters.types import Array, Runner
from rethined_export.recipes.rethined import windows
from rethined_export.recipes.rethined.native import NothingKnownError
from rethined_export.recipes.rethined.windows import (
    GRID,
    LOW_RESOLUTION,
    PATCH,
    Bools,
    Filling,
    Floats,
    Ints,
    Pixels,
    _window,
)

TOKENS = GRID * GRID
#: Full-resolution rows shrunk at once, in eights.
_STRIP = 8
#: How far the neighbours of a token lie from it in the list of all tokens.
_REACH = GRID + 1


@dataclass(frozen=True)
class Programs:
    """A pair's three programs, its scale, and the tokens that one run of ``choose`` takes."""

    low: Runner
    choose: Runner
    patch: Runner | None
    scale: int
    budget: int
    top_k: int

    @property
    def coherence(self) -> bool:
        return "rows" in self.choose.takes


class Square(windows.Square):
    """A photo under the square of the token grid, which can be shrunk."""

    def shrink(self) -> tuple[Floats, Floats]:
        """x_LR before its hole is cut, ``[1, 3, 512, 512]``, and m_LR ``[1, 1, 512, 512]``.

        A low-resolution pixel is the mean of its s × s pixels, and hole where any of them is.
        """
        image = np.empty((LOW_RESOLUTION, LOW_RESOLUTION, 3), np.float32)
        mask = np.empty((LOW_RESOLUTION, LOW_RESOLUTION), np.bool_)
        lines = PATCH * -(-_STRIP // self.scale)
        rows, columns = self._rows, self._columns
        for line in range(0, LOW_RESOLUTION, lines):
            some = rows[line * self.scale : (line + lines) * self.scale]
            part = slice(line, line + lines)
            image[part] = _mean(_window(self.photo, some, columns), self.scale)
            mask[part] = flags(_window(self.hole, some, columns), self.scale)
        image *= np.float32(1 / self.full)
        return image.transpose(2, 0, 1)[None], mask[None, None].astype(np.float32)


def fill(programs: Programs, square: Square) -> Filling:
    """Fill the hole under a square, in place; known pixels are not written."""
    image, mask = square.shrink()
    filling = choose(programs, image, mask)
    complete(programs.patch, square, filling)
    return filling


def complete(patch: Runner | None, square: windows.Square, filling: Filling) -> None:
    """Make and paste the full-resolution patches; at s = 1 they are those of the low image."""
    if patch is not None:
        windows.complete(patch, square, filling)
        return
    tokens = np.flatnonzero(filling.hole)
    square.paste(tokens, low_patches(filling.low, tokens) * np.float32(square.full))


def low_patches(low: Floats, tokens: Ints) -> Floats:
    """``[M, 8, 3, 8]``."""
    grid = low.reshape(GRID, PATCH, 3, GRID, PATCH)
    patches: Floats = grid[tokens // GRID, :, :, tokens % GRID]
    return patches


def choose(programs: Programs, image: Floats, mask: Floats) -> Filling:
    """Look at the photo, then choose for as many tokens at once as the program takes."""
    hole = flags(mask[0, 0] > 0, PATCH).reshape(-1)
    if hole.all():
        raise NothingKnownError("the hole leaves no whole patch to copy from; use a smaller hole")
    seen = programs.low(image=image, mask=mask)
    found = Filling(
        hole,
        seen["composite"][0].transpose(1, 0, 2).astype(np.float32, order="C"),
        np.zeros((TOKENS, programs.top_k), np.int32),
        np.zeros((TOKENS, programs.top_k), np.float32),
    )
    reach = _REACH if programs.coherence else 0
    for tokens, done in parts(np.flatnonzero(hole), programs.budget, reach):
        listed = np.zeros(programs.budget, np.int32)
        listed[: len(tokens)] = tokens
        inputs: dict[str, Array] = {**seen, "tokens": listed}
        if programs.coherence:
            inputs["rows"] = np.full(TOKENS, programs.budget, np.int32)
            inputs["rows"][tokens] = np.arange(len(tokens))
        _note(found, programs.choose(**inputs), tokens, done)
    return found


def parts(tokens: Ints, budget: int, reach: int) -> Iterator[tuple[Ints, Bools]]:
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


def _note(found: Filling, made: dict[str, Array], tokens: Ints, done: Bools) -> None:
    """Keep what the low program says of the tokens it fills exactly."""
    kept, places = tokens[done], np.flatnonzero(done)
    found.indices[kept] = made["indices"][0][places]
    found.scores[kept] = made["scores"][0][places]
    grid = found.low.reshape(GRID, PATCH, 3, GRID, PATCH)
    grid[kept // GRID, :, :, kept % GRID] = made["low"][places]


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


def flags(given: Bools, size: int) -> Bools:
    """Whether any of size × size flags is set."""
    height, width = given.shape
    lines = np.ascontiguousarray(given).reshape(height // size, size, width)
    tall = np.logical_or.reduce(lines, axis=1)
    # Column by column: numpy reduces a short last axis many times slower.
    found: Bools = np.logical_or.reduce([tall[:, first::size] for first in range(size)])
    return found
