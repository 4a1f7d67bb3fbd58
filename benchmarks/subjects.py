"""What is timed: one fill of an 8-bit photo by an artifact, in its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rethined_export.converters.types import Array, Runner
from rethined_export.deployed import Deployed, deployed
from rethined_export.photo.window import Window

#: What runs the artifacts of each target, except on Apple's devices.
RUNTIMES = {"onnx": "ONNX Runtime", "tflite": "LiteRT"}
#: Share of the photo in the hole, and cells of its grid along one side.
COVER = 0.10
_CELLS = 64


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


class _Watched:
    """A program that notes when it began its first run and ended its last."""

    def __init__(self, program: Runner) -> None:
        self._program = program
        self.name, self.takes = program.name, program.takes
        self.begun = self.ended = 0.0

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        self.begun = self.begun or perf_counter()
        outputs = self._program(**inputs)
        self.ended = perf_counter()
        return outputs


@contextmanager
def subject(artifact: Path, threads: int) -> Iterator[Subject]:
    """A function that fills a photo once: with one program, or with several and their caller.

    Raises:
        UserError: it is not the first of several programs, or was not made by rethined-export.
    """
    with deployed(artifact, threads) as made:
        photo, hole = noise_photo(made.spec.options.window)
        hole = in_middle(hole, made.spec.options.middle)
        if not made.spec.recipe.fills_photos(made.spec.options):
            order = plane_order(made.spec.target)
            yield lambda: whole(made.runner, photo, hole, order)
            return
        yield lambda: _in_place(made, photo, hole)


def _in_place(made: Deployed, photo: npt.NDArray[np.uint8], hole: npt.NDArray[np.bool_]) -> Parts:
    """Fill the hole of a photo where it lies; from the first program's run on to the last's ends
    inference."""
    watched = {part: _Watched(program) for part, program in made.programs.items()}
    fill = replace(made, programs=watched).photo_caller
    assert fill is not None
    begun = perf_counter()
    fill(photo, hole, 0, 0)
    done = perf_counter()
    first = min(program.begun for program in watched.values())
    last = max(program.ended for program in watched.values())
    return Parts(1e3 * (first - begun), 1e3 * (last - first), 1e3 * (done - last))


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


def in_middle(hole: npt.NDArray[np.bool_], side: int | None) -> npt.NDArray[np.bool_]:
    """What of a hole ``[H, W]`` lies in the square of a side in its middle; None: all of it."""
    if side is None:
        return hole
    rows, columns = ((length - side) // 2 for length in hole.shape)
    part = np.zeros_like(hole)
    middle = (slice(rows, rows + side), slice(columns, columns + side))
    part[middle] = hole[middle]
    return part


def noise_photo(
    window: Window, cover: float = COVER
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """A photo of noise ``[H, W, 3]`` and a hole ``[H, W]`` of whole cells of a grid.

    Time does not depend on what it shows. Cells lie row by row from the middle on, as a wide stroke
    does; at least one stays known.

    Args:
        cover: share of the cells in the hole, 0 to 1.
    """
    photo = np.random.default_rng(0).integers(0, 256, (*window, 3), np.uint8)
    flags = np.zeros(_CELLS * _CELLS, np.bool_)
    flags[: min(round(cover * flags.size), flags.size - 1)] = True
    grid = np.roll(flags, flags.size // 3).reshape(_CELLS, _CELLS)
    rows, columns = (np.arange(side) * _CELLS // side for side in window)
    return photo, grid[np.ix_(rows, columns)]
