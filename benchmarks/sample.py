"""A real photo, what this machine makes of it with an artifact, and how far a device is off."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from rethined_export.converters import converter, target_of
from rethined_export.converters.types import Array
from rethined_export.deployed import embedded_spec
from rethined_export.errors import UserError
from rethined_export.jobs.parent import JobError
from rethined_export.jobs.registry import Report, job

Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """A photo ``[H, W, 3]`` and its hole ``[H, W]``."""

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


@job
def sample(report: Report, *, artifact: str, folder: str) -> dict[str, Any]:
    """Run a whole artifact on a photo: ``inputs.npz``, ``own.npz``, in the artifact's layouts."""
    path, target = Path(artifact), target_of(Path(artifact))
    report("running it here")
    spec = embedded_spec(path)
    if len(spec.parts) > 1 or spec.part != "whole":
        raise UserError(f"{path} is one of several programs; devices run whole artifacts")
    if spec.options.io != "plain":
        raise UserError(f"{path} takes its network's own inputs; devices run --io plain")
    scene = next(spec.recipe.scenes(spec.options, None, None))
    inputs = {"image": scene.image.numpy(), "mask": scene.mask.numpy()}
    last = converter(target).channels_last(path)
    with converter(target).load(path, 1) as runtime:
        outputs = runtime(**inputs)

    def stored(arrays: dict[str, Array]) -> dict[str, Any]:
        return {n: a.transpose(0, 2, 3, 1) if n in last else a for n, a in arrays.items()}

    np.savez(Path(folder) / "inputs.npz", **stored(inputs))
    np.savez(Path(folder) / "own.npz", **stored(outputs))
    return {}
