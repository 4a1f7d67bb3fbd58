"""What runs MI-GAN's artifacts: a bare generator as an inpainter, and a photo by its pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rethined_export.converters.types import Array, Runner
from rethined_export.recipes.migan import pipeline
from rethined_export.recipes.types import Bools, Pixels, Running


class NativeRunner:
    """A bare generator as a function from image and mask to image."""

    takes = frozenset({"image", "mask"})

    def __init__(self, generator: Runner) -> None:
        self.name = generator.name
        self._paint = pipeline.native_network(_raw(generator))

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        image, mask = (np.asarray(inputs[name], np.float32) for name in ("image", "mask"))
        return {"output": np.where(mask > 0, self._paint(image, mask), image)}


def _raw(generator: Runner) -> Callable[[pipeline.Floats], pipeline.Floats]:
    return lambda x: np.asarray(generator(input=x)["output"], np.float32)


def fill_photo(manner: pipeline.Manner, made: Running, photo: Pixels, hole: Bools) -> Pixels:
    """A photo filled through an artifact; a bare generator paints known pixels too."""
    options: Any = made.options

    def composited(image: pipeline.Floats, mask: pipeline.Floats) -> pipeline.Floats:
        return np.asarray(made.runner(image=image, mask=mask)["output"], np.float32)

    native = options.io == "native"
    network = pipeline.native_network(_raw(made.programs["whole"])) if native else composited
    return pipeline.fill(network, photo, hole, options.window.height, manner)
