"""A split pair: two programs say what a photo's hole copies, and librethined copies it."""

from dataclasses import dataclass

import numpy as np

from rethined_export.converters.types import Array, Runner
from rethined_export.recipes.rethined import native, windows
from rethined_export.recipes.rethined.native import Choice, Floats, Square


@dataclass(frozen=True)
class Pair:
    """A split pair, loaded.

    Attributes:
        low: takes ``image`` ``[1, 3, 512, 512]`` and ``mask`` ``[1, 1, 512, 512]``; gives
            ``composite`` and ``details`` ``[1, 3, 512, 512]``, ``queries`` ``[4096, d]``, ``keys``
            ``[d, 4096]`` and ``shares`` ``[1, 1, 512, 512]``.
        choose: takes these, ``tokens`` ``[K]`` and, with a coherence layer, ``rows``
            ``[4096]``; gives ``low`` ``[K, 8, 3, 8]``, ``indices`` and ``scores`` ``[1, K, k]``.
        patch: makes full-resolution patches in librethined's place, see :mod:`.windows`; or None.
        scale: s; photos are filled up to 512·s pixels a side.
        budget: K. top_k: k.
    """

    low: Runner
    choose: Runner
    patch: Runner | None
    scale: int
    budget: int
    top_k: int

    def look(self, image: Floats, mask: Floats) -> Choice:
        """Run the network on a small photo: once, then once for every K tokens of its hole.

        Args:
            image: x_LR ``[1, 3, 512, 512]``; mask: m_LR ``[1, 1, 512, 512]``.

        Raises:
            NothingKnownError: the hole touches every patch.
            NativeError: an index is no token's, or a number is not finite.
        """
        choice = Choice(mask, self.top_k)
        seen = self.low(image=image, mask=mask)
        choice.compose(np.asarray(seen["composite"], np.float32))
        for part in native.parts(choice.tokens, self.budget, "rows" in self.choose.takes):
            inputs: dict[str, Array] = {**seen, "tokens": part.listed}
            if part.rows is not None:
                inputs["rows"] = part.rows
            choice.keep(self.choose(**inputs), part)
        return choice

    def fill(self, square: Square, threads: int) -> Choice:
        """Fill the hole under a square, in place; known pixels are not written.

        Args:
            threads: that librethined shares the work over.

        Returns:
            What was copied from where.

        Raises:
            NothingKnownError: the hole touches every patch.
        """
        choice = self.look(*square.shrink(threads=threads))
        if self.patch is None:
            square.fill(choice, threads)
        else:
            _fill_by_program(self.patch, square, choice)
        return choice


def _fill_by_program(patch: Runner, square: Square, choice: Choice) -> None:
    """What ``square.fill`` does, with the arithmetic in a program."""
    low = np.ascontiguousarray(choice.low.transpose(0, 2, 1))
    filling = windows.Filling(choice.flags > 0, low, choice.indices, choice.scores)
    under = windows.Square(square.photo, square.hole > 0, square.scale, square.top, square.left)
    windows.complete(patch, under, filling)


class PairRunner:
    """A split pair as a function from image and mask to image, for comparing it with torch."""

    name = "split pair"
    takes = frozenset({"image", "mask"})

    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """``image`` ``[1, 3, S, S]`` and ``mask`` ``[1, 1, S, S]``; the outputs of a whole."""
        photo = np.array(inputs["image"][0].transpose(1, 2, 0), np.float32, order="C")
        hole = np.ascontiguousarray(inputs["mask"][0, 0] > 0)
        choice = self._pair.fill(Square(photo, hole, self._pair.scale), threads=1)
        return {
            "output": photo.transpose(2, 0, 1)[None],
            "indices": choice.indices[None],
            "scores": choice.scores[None],
        }
