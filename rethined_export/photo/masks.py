"""What a mask means: which of its pixels are hole.

A mask is one colour on a background. White on black, 0 and 1, red on black, a palette's colour and
a shape in the alpha channel all say the same. Whatever can be read in two ways is refused, with
what was seen and the option that settles it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rethined_export.errors import UserError

Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[Any]

#: What ``--mask-channel`` may name.
CHANNELS = ("grey", "red", "green", "blue", "alpha")
#: Of 8 bits: a background is at most this bright, and a quarter of what is marked on it.
_DARK = 32
#: Where the mark's own colour begins, and where the background ends, as shares of the mark.
_MARK, _GROUND = 7 / 8, 1 / 8
#: Soft edges take up less of a mask than of a picture: at most this share of all pixels ...
_SPREAD = 0.25
#: ... and, where they are more than a tenth of it, at most as many times the marked pixels.
_SPREAD_OF_MARK, _SPREAD_FROM = 3.0, 0.1
#: Mark and background have one colour each: this share of either lies within a few levels of it,
#: where what is marked is large enough to be more than soft edges.
_PLAIN, _NEAR, _LARGE = 0.5, 3, 0.15
#: Of the pixels that are not background, how many may have another colour, or a flat grey.
_OTHER, _FLAT = 0.05, 0.01
#: Edges, however soft, hold no square of one grey this large; a third level does.
_FLAT_SIDE = 5
#: Rows looked at at once: masks may be as large as photos.
_ROWS = 512
#: Colours told in a message, and how many count as few.
_TOLD, _FEW = 4, 8
#: More colours than a mask has, even as a JPEG: a picture's are told apart to two bits less.
_MANY, _COARSE = 1 << 16, 0xFCFCFC


@dataclass(frozen=True)
class MaskRule:
    """How to read a mask, where it does not say so itself.

    Attributes:
        threshold: of 255; what is at least as bright is hole, whatever else it looks like.
        invert: the hole is what would have been known.
        channel: the one that counts, of :data:`CHANNELS`.
        frame: which picture of its file it is, 1 being the first.
    """

    threshold: int | None = None
    invert: bool = False
    channel: str | None = None
    frame: int = 1


#: A mask that says itself what it means.
AS_IT_SAYS = MaskRule()


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask as it was read.

    Attributes:
        hole: bool `[H, W]`, True = to be filled.
        grey: how many pixels are neither background nor the mark's own colour.
        rule: how the hole was told from the rest, in words.
        frames: pictures in the file.
    """

    hole: Bools
    grey: int
    rule: str
    frames: int = 1

    @property
    def share(self) -> float:
        """Share of the pixels that are hole, 0 to 1."""
        return float(np.count_nonzero(self.hole) / self.hole.size)


@dataclass(frozen=True)
class _Reading:
    """What is at least `threshold` bright is marked; `words` say which colour that is."""

    threshold: int
    grey: int
    words: str


class _AmbiguousError(Exception):
    """Holds what was seen."""


def mask_of(pixels: Numbers, name: str, rule: MaskRule = AS_IT_SAYS) -> Mask:
    """Read a mask.

    Args:
        pixels: `[H, W, C]`, C in 1 (grey), 2 (grey, alpha), 3 (RGB), 4 (RGBA); of any number type.
        name: for messages.

    Raises:
        UserError: it can be read in more than one way, or lacks the channel asked for.
    """
    try:
        mask = _read(pixels, rule)
    except _AmbiguousError as seen:
        raise UserError(f"{name}: {seen}") from None
    if rule.invert:
        return Mask(~mask.hole, mask.grey, f"{mask.rule}, inverted")
    return mask


def _read(pixels: Numbers, rule: MaskRule) -> Mask:
    colours, alpha = _eight_bits(pixels)
    if rule.channel is not None:
        plane = _channel(colours, alpha, rule.channel)
        return _of_plane(plane[..., None], rule, f"{rule.channel} channel: ")
    if alpha is None or _constant(alpha):
        return _of_plane(colours, rule, "")
    if _constant(colours):
        return _of_plane(alpha[..., None], rule, "alpha: ")
    return _of_both(colours, alpha, rule)


def _of_both(colours: Bytes, alpha: Bytes, rule: MaskRule) -> Mask:
    """Colours and alpha both vary: they must agree, or one of them must be no mask."""
    try:
        by_alpha = _of_plane(alpha[..., None], AS_IT_SAYS, "alpha: ")
    except _AmbiguousError:  # shades of alpha say nothing of a hole
        return _of_plane(colours, rule, "")
    visible = by_alpha.hole
    painted = colours[visible]
    if len(painted) and painted.any() and not (painted != painted[0]).any():
        # One colour painted on nothing: what lies hidden under the nothing is of no account.
        return by_alpha if rule.threshold is None else _of_plane(colours, rule, "")
    try:
        by_colour = _of_plane(colours, rule, "")
    except _AmbiguousError as seen:
        raise _AmbiguousError(
            f"{seen}; {1 - by_alpha.share:.1%} of it is transparent: if that is the hole, "
            "--mask-channel alpha --mask-invert"
        ) from None
    hidden = np.count_nonzero(by_colour.hole & ~visible)
    if hidden > _OTHER * max(int(np.count_nonzero(by_colour.hole)), 1):
        raise _AmbiguousError(
            f"its colours mark {by_colour.share:.1%} as hole and its alpha shows "
            f"{by_alpha.share:.1%}, which is another part; pass --mask-channel grey or "
            "--mask-channel alpha, with --mask-invert for the rest"
        )
    return by_colour


def _of_plane(colours: Bytes, rule: MaskRule, words: str) -> Mask:
    """Read `[H, W, 1 or 3]`."""
    bright: Bytes = colours[..., 0] if colours.shape[2] == 1 else colours.max(axis=2)
    if rule.threshold is not None:
        hole = np.asarray(bright >= rule.threshold)
        grey = int(np.count_nonzero((bright > 0) & (bright < 255)))
        return Mask(hole, grey, f"{words}at least {rule.threshold} of 255 is hole")
    reading = _reading(bright, *_histogram(colours))
    return Mask(np.asarray(bright >= reading.threshold), reading.grey, words + reading.words)


def _eight_bits(pixels: Numbers) -> tuple[Bytes, Bytes | None]:
    """Colours `[H, W, 1 or 3]` and alpha `[H, W]`, 0 to 255."""
    count = pixels.shape[2]
    alpha = _scaled(pixels[..., -1]) if count in (2, 4) else None
    colours = _scaled(pixels[..., : 3 if count > 2 else 1])
    if count > 2 and _in_strips(
        colours, lambda strip: not (strip[..., :1] != strip[..., 1:]).any()
    ):
        colours = colours[..., :1]
    return colours, alpha


def _scaled(numbers: Numbers) -> Bytes:
    """To 8 bits. Small numbers in a large type (0 and 1, or 0 and 255) keep their meaning.

    What is not 0 stays so: however faint, it may be all that is marked.
    """
    if numbers.dtype == np.uint8:
        return numbers
    lowest, highest = float(numbers.min()), float(numbers.max())  # NaN where one is
    if not 0 <= lowest <= highest < np.inf:
        raise _AmbiguousError("it holds values below 0, NaN or infinite; save it with 8 bits")
    white = 65535.0 if highest > 255 else 255.0
    if highest > 65535:
        white = highest
    elif numbers.dtype.kind == "f" and highest <= 1:
        white = 1.0
    scaled = np.empty(numbers.shape, np.uint8)
    for top in range(0, len(numbers), _ROWS):
        strip = numbers[top : top + _ROWS]
        part = scaled[top : top + _ROWS]
        part[:] = np.rint(strip * (255 / white))
        part[(part == 0) & (strip > 0)] = 1
    return scaled


def _channel(colours: Bytes, alpha: Bytes | None, name: str) -> Bytes:
    if name == "alpha":
        if alpha is None:
            raise _AmbiguousError("it has no alpha channel; pass another --mask-channel")
        return alpha
    if colours.shape[2] == 1:
        return colours[..., 0]
    if name == "grey":
        grey: Bytes = np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY), np.uint8)
        return grey
    return colours[..., ("red", "green", "blue").index(name)]


def _constant(plane: Bytes) -> bool:
    return _in_strips(plane, lambda strip: not (strip != plane[:1, :1]).any())


def _in_strips(plane: Bytes, holds: Callable[[Bytes], bool]) -> bool:
    """Whether something holds everywhere."""
    return all(holds(plane[top : top + _ROWS]) for top in range(0, len(plane), _ROWS))


def _histogram(colours: Bytes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Distinct colours `[N, 1 or 3]`, darkest first, and how many pixels have each."""
    depth = colours.shape[2]
    if depth == 1:
        counts = sum(np.bincount(row, minlength=256) for row in colours[..., 0])
        found = np.flatnonzero(counts)
        return found[:, None], np.asarray(counts, np.int64)[found]
    keys, numbers, kept = [], [], np.uint32(0xFFFFFF)
    step = max(1, (1 << 20) // colours.shape[1])
    for top in range(0, len(colours), step):  # in strips: sorting all at once takes long
        strip = colours[top : top + step].astype(np.uint32)
        packed = strip[..., 0] << 16 | strip[..., 1] << 8 | strip[..., 2]
        key, number = np.unique(packed & kept, return_counts=True)
        if len(key) > _MANY:
            kept = np.uint32(_COARSE)
            key, number = np.unique(packed & kept, return_counts=True)
        keys.append(key)
        numbers.append(number)
    merged, place = np.unique(np.concatenate(keys), return_inverse=True)
    counts = np.bincount(place, weights=np.concatenate(numbers)).astype(np.int64)
    apart = np.stack([merged >> 16, merged >> 8 & 255, merged & 255], axis=1).astype(np.int64)
    order = np.argsort(apart.max(axis=1), kind="stable")
    return apart[order], counts[order]


def _reading(
    bright: Bytes, colours: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> _Reading:
    """Find the mark and its threshold.

    Args:
        bright: `[H, W]`, the largest of each pixel's channels.
        colours, counts: its histogram.

    Raises:
        _AmbiguousError: more than one colour on a dark background.
    """
    level = colours.max(axis=1)
    if len(colours) == 1:
        words = "all black" if level[0] == 0 else f"all {_name(colours[0])}"
        return _Reading(max(1, int(level[0])), 0, words)
    if len(colours) == 2:
        if level[0] > min(_DARK, level[1] / 4):
            raise _AmbiguousError(_told(colours, counts, "neither is black"))
        return _Reading((int(level[0]) + int(level[1]) + 1) // 2, 0, _on_black(colours[1]))
    mark = colours[np.argmax(np.where(level >= level[-1] / 2, counts, 0))]
    return _with_edges(bright, colours, counts, mark)


def _with_edges(
    bright: Bytes,
    colours: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    mark: npt.NDArray[np.int64],
) -> _Reading:
    """As `_reading`, where there are shades between the mark and the background, or more."""
    full = float(mark.max())
    share = colours @ mark / float(mark @ mark)  # 0 = black, 1 = the mark
    beside = np.abs(colours - share[:, None] * mark).max(axis=1)
    level = colours.max(axis=1)
    ground = level <= max(_GROUND * full, min(16, full / 3))
    other = ~ground & ((beside > max(48 * full / 255, 8)) | (share > 1.25))
    soft = ~ground & ~other & (share < _MARK)
    total = counts.sum()
    n_marked = max(int(counts[~ground].sum()), 1)
    n_other, n_soft = int(counts[other].sum()), int(counts[soft].sum())
    n_mark = n_marked - n_other - n_soft
    spread = n_soft + n_other
    few = np.sort(counts)[-_FEW:].sum() >= 0.9 * total
    near = int(counts[np.abs(colours - mark).max(axis=1) <= _NEAR].sum())
    black = int(counts[level <= _NEAR].sum())
    shaded = n_marked > _LARGE * total and (
        near < _PLAIN * n_mark or black < _PLAIN * (total - n_marked) or black == 0
    )
    if shaded:
        spread = n_marked - near
    if not few and (
        shaded
        or spread > _SPREAD * total
        or (spread > _SPREAD_FROM * total and spread > _SPREAD_OF_MARK * n_mark)
    ):
        raise _AmbiguousError(
            f"{spread / total:.0%} of its pixels are neither its background nor "
            f"{_name(mark)}, so it looks like a picture, not a mask (are photo and mask "
            "swapped?); --mask-threshold 128 takes its bright part for the hole"
        )
    flat = _flat(bright, max(_GROUND * full, min(16, full / 3)), _MARK * full)
    if n_other > _OTHER * n_marked or flat > _FLAT * n_marked:
        raise _AmbiguousError(_told(colours, counts, "only one of them can be the hole's"))
    threshold = (int(full) + 1) // 2
    words = f"{_on_black(mark)}, its edges from {threshold} of 255"
    return _Reading(threshold, n_soft + n_other, words if n_soft else _on_black(mark))


def _flat(bright: Bytes, above: float, below: float) -> int:
    """How many pixels lie amid a square of one shade between two levels."""
    square, reach, found = np.ones((_FLAT_SIDE, _FLAT_SIDE), np.uint8), _FLAT_SIDE // 2, 0
    for top in range(0, len(bright), _ROWS):
        first = max(top - reach, 0)
        strip = bright[first : top + _ROWS + reach]
        uniform = cv2.erode(strip, square) == cv2.dilate(strip, square)
        flat = uniform & (strip > above) & (strip < below)
        found += int(np.count_nonzero(flat[top - first :][:_ROWS]))
    return found


def _told(colours: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], trouble: str) -> str:
    most = np.argsort(-counts, kind="stable")[:_TOLD]
    seen = ", ".join(f"{_name(colours[i])} {counts[i] / counts.sum():.1%}" for i in sorted(most))
    more = f" and {len(colours) - _TOLD} more" if len(colours) > _TOLD else ""
    return (
        f"it holds {seen}{more}, and {trouble}; --mask-threshold 1 takes all that is not black "
        "for the hole, a larger one only what is as bright, --mask-channel looks at one channel, "
        "--mask-invert swaps"
    )


def _name(colour: npt.NDArray[np.int64]) -> str:
    values = [int(value) for value in colour]
    if len(set(values)) > 1:
        return f"({', '.join(map(str, values))})"
    return {0: "black", 255: "white"}.get(values[0], f"grey {values[0]}")


def _on_black(mark: npt.NDArray[np.int64]) -> str:
    return f"{_name(mark)} on black"
