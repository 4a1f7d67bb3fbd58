"""What is timed: one fill of an 8-bit photo by an artifact, in its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rethined_export.converters import converter, target_of
from rethined_export.deployed import embedded_spec, split_pair
from rethined_export.errors import UserError
from rethined_export.recipes.rethined.caller import (
    GRID,
    TOKENS,
    Square,
    choose,
    complete,
)

#: Share of the tokens in the hole.
COVER = 0.10


@dataclass(frozen=True)
class Parts:
    """Milliseconds of one fill: photo to inputs, the programs themselves, outputs to photo."""

    before: float
    inference: float
    after: float

    @property
    def total(self) -> float:
        """All three."""
        return self.before + self.inference + self.after


Subject = Callable[[], Parts]


@contextmanager
def subject(artifact: Path, threads: int) -> Iterator[Subject]:
    """A function that fills a photo once: with a whole artifact, or the pair of a low half.

    Raises:
        UserError: this is the patch half, or it was not made by rethined-export.
    """
    spec = embedded_spec(artifact)
    photo, hole = noise_photo(spec.hr, round(COVER * TOKENS))
    if spec.part == "whole":
        target = target_of(artifact)
        with converter(target).load(artifact, threads) as runtime:
            yield lambda: whole(runtime, photo, hole, plane_order(target))
        return
    if spec.part == "patch":
        raise UserError(f"{artifact} is the patch half of a split pair; give the low half")
    with split_pair(artifact, threads) as pair:

        def fill() -> Parts:
            square = Square(photo, hole, pair.scale)
            begun = perf_counter()
            image, mask = square.shrink()
            shrunk = perf_counter()
            choice = choose(pair, image, mask)
            chosen = perf_counter()
            complete(pair, square, choice)
            done = perf_counter()
            return Parts(1e3 * (shrunk - begun), 1e3 * (chosen - shrunk), 1e3 * (done - chosen))

        yield fill


def plane_order(target: str) -> Literal["C", "K"]:
    """Memory order in which an artifact reads an image's planes.

    In any other a runtime would sort them itself, and take the time for the inference's. LiteRT's
    artifacts read the photo's own order.
    """
    return "K" if target == "tflite" else "C"


def whole(
    runtime: Callable[..., dict[str, npt.NDArray[np.generic]]],
    photo: npt.NDArray[np.uint8],
    hole: npt.NDArray[np.bool_],
    order: Literal["C", "K"],
) -> Parts:
    """Fill the hole ``[S, S]`` of a photo ``[S, S, 3]`` once with a whole artifact."""
    begun = perf_counter()
    image = photo.transpose(2, 0, 1)[None].astype(np.float32, order) / np.float32(255)
    mask = hole[None, None].astype(np.float32)
    ready = perf_counter()
    output = runtime(image=image, mask=mask)["output"]
    ran = perf_counter()
    paste(photo, hole, output[0].transpose(1, 2, 0))
    done = perf_counter()
    return Parts(1e3 * (ready - begun), 1e3 * (ran - ready), 1e3 * (done - ran))


def paste(
    photo: npt.NDArray[np.uint8], hole: npt.NDArray[np.bool_], output: npt.NDArray[Any]
) -> npt.NDArray[np.uint8]:
    """A copy of the photo ``[S, S, 3]`` whose hole ``[S, S]`` shows an output in [0, 1]."""
    filled = photo.copy()
    filled[hole] = np.rint(np.clip(output[hole], 0, 1) * np.float32(255))
    return filled


def noise_photo(side: int, tokens: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """A photo of noise ``[side, side, 3]`` and a hole of whole tokens ``[side, side]``.

    Time does not depend on what it shows. Hole tokens lie row by row from the middle on, as a wide
    stroke does; at least one token stays known.
    """
    photo = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    flags = np.zeros(TOKENS, np.bool_)
    flags[: min(tokens, TOKENS - 1)] = True
    grid = np.roll(flags, TOKENS // 3).reshape(GRID, GRID)
    size = side // GRID
    return photo, grid.repeat(size, 0).repeat(size, 1)
