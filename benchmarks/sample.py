"""A real photo, what this machine makes of it with an artifact, and how far a device is off."""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from rethined_export.jobs.parent import JobError

Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """A photo ``[S, S, 3]`` and its hole ``[S, S]``."""

    photo: npt.NDArray[np.uint8]
    hole: npt.NDArray[np.bool_]


def read_sample(folder: Path, target: str) -> tuple[Scene, Pixels]:
    """What the ``sample`` job left: the photo, and the output in the target's layout."""
    with np.load(folder / "inputs.npz") as inputs, np.load(folder / "own.npz") as own:
        photo = np.rint(channels_last(inputs["image"], target) * np.float32(255))
        hole = channels_last(inputs["mask"], target)[:, :, 0] > 0
        output: Pixels = own["output"]
    return Scene(photo.astype(np.uint8), hole), output


def channels_last(image: Pixels, target: str) -> Pixels:
    """``[1, C, H, W]``, or ``[1, H, W, C]`` of TFLite, as ``[H, W, C]``."""
    image = image[0]
    return image if target == "tflite" else image.transpose(1, 2, 0)


def difference(folder: Path) -> float:
    """Largest absolute difference between ``output`` of ``outputs.npz`` and of ``own.npz``.

    Raises:
        JobError: the first is unreadable, or of another shape.
    """
    with np.load(folder / "own.npz") as stored:
        own = stored["output"]
    try:
        with np.load(folder / "outputs.npz") as stored:
            made = stored["output"]
    except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
        raise JobError("the outputs that the run left cannot be read", 1) from error
    if made.shape != own.shape:
        raise JobError(f"the run's output is {made.shape}, this machine's is {own.shape}", 1)
    return float(np.abs(made - own).max())
