"""A real photo and this machine's own output of it, to hold the browser's against."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from rethined_export.benchmarks.browser.tab import Scene, Tab
from rethined_export.benchmarks.subjects import paste
from rethined_export.errors import ParityError

Pixels = npt.NDArray[np.float32]


def read_sample(folder: Path, target: str) -> tuple[Scene, Pixels]:
    """What the ``sample`` job left: the photo, and the output in the target's layout."""
    with np.load(folder / "inputs.npz") as inputs, np.load(folder / "own.npz") as own:
        photo = np.rint(_channels_last(inputs["image"], target) * np.float32(255))
        hole = _channels_last(inputs["mask"], target)[:, :, 0] > 0
        output: Pixels = own["output"]
    return Scene(photo.astype(np.uint8), hole), output


def difference(tab: Tab, scene: Scene, own: Pixels, target: str) -> float:
    """Largest absolute difference of the browser's output of the photo from this machine's own.

    Raises:
        ParityError: the page's filled photo does not show that output.
    """
    output, filled = tab.fill(own.shape)
    shown = paste(scene.photo, scene.hole, _channels_last(np.nan_to_num(output), target))
    if not np.array_equal(filled, shown.ravel()):
        raise ParityError("the photo that the browser's page fills does not show its own output")
    return float(np.abs(output - own).max())


def _channels_last(image: Pixels, target: str) -> Pixels:
    """``[1, C, H, W]``, or ``[1, H, W, C]`` of TFLite, as ``[H, W, C]``."""
    image = image[0]
    return image if target == "tflite" else image.transpose(1, 2, 0)
