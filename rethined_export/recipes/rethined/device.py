"""A pair's fill taken apart for a device: each program by itself, and librethined by a timer."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from rethined_export.converters.types import Array, Runner
from rethined_export.recipes.rethined import native
from rethined_export.recipes.rethined.native import Square
from rethined_export.recipes.rethined.pair import Pair
from rethined_export.recipes.types import Apart, Bools, PartRun, Pixels


class _Recorder:
    """A program that keeps its first run and counts all."""

    def __init__(self, program: Runner) -> None:
        self._program = program
        self.name, self.takes = program.name, program.takes
        self.inputs: Mapping[str, Array] = {}
        self.outputs: Mapping[str, Array] = {}
        self.runs = 0

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        outputs = self._program(**inputs)
        if self.runs == 0:
            self.inputs, self.outputs = inputs, outputs
        self.runs += 1
        return outputs

    def run(self) -> PartRun:
        return PartRun(self.inputs, self.outputs, self.runs)


def taken_apart(pair: Pair, photo: Pixels, hole: Bools) -> Apart:
    """Fill a square photo here, and keep what each part of the fill was given and gave.

    Args:
        photo: ``[S, S, 3]``, uint8 or float32. hole: ``[S, S]``.
    """
    low, choose = _Recorder(pair.low), _Recorder(pair.choose)
    filled = photo.copy()
    square = Square(filled, np.ascontiguousarray(hole), pair.scale)
    choice = replace(pair, low=low, choose=choose).look(*square.shrink())
    square.fill(choice)
    files = {
        "photo.raw": photo,
        "hole.raw": hole.astype(np.uint8),
        "low.raw": choice.low,
        "indices.raw": choice.indices,
        "scores.raw": choice.scores,
    }
    settings = (len(photo), pair.scale, native.depth(photo), pair.top_k)
    parts = {"low": low.run(), "choose": choose.run()}
    page = Path(native.__file__).with_name("rethined.wasm")
    names = {"side": len(photo), "scale": pair.scale, "k": pair.top_k, "budget": pair.budget}
    return Apart(parts, timers(), files, tuple(map(str, settings)), filled, page, names)


def timers() -> dict[str, Path]:
    """The static program that times librethined, by a device's machine."""
    folder = Path(native.__file__).parent
    return {
        path.name.removeprefix("rethined-time-"): path for path in folder.glob("rethined-time-*")
    }
