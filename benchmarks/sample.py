"""A real photo, what this machine makes of it with an artifact, and how far a device is off."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from rethined_export.benchmarks.subjects import noise_photo
from rethined_export.converters import converter, target_of
from rethined_export.converters.types import Array
from rethined_export.deployed import deployed, embedded_spec, partners
from rethined_export.errors import UserError
from rethined_export.jobs.parent import JobError
from rethined_export.jobs.registry import Report, job

Pixels = npt.NDArray[np.float32]
#: Outputs that are colours in about [0, 1]; the first that there is gets compared.
_COLOURS = ("output", "composite", "low")


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


def read_shown(folder: Path, target: str) -> tuple[Scene, Pixels]:
    """What the ``sample`` job left of an artifact or of several: the photo, and it filled."""
    place = folder / "photo"
    if not place.is_dir():
        scene, output = read_sample(folder, target)
        return scene, channels_last(output, target)
    with np.load(place / "own.npz") as own:
        filled: Pixels = own["output"]
    photo = np.fromfile(place / "photo.raw", np.float32).reshape(filled.shape)
    hole = np.fromfile(place / "hole.raw", np.uint8).reshape(filled.shape[:2]) > 0
    return Scene(np.rint(photo * np.float32(255)).astype(np.uint8), hole), filled


def channels_last(image: Pixels, target: str) -> Pixels:
    """``[1, C, H, W]``, or ``[1, H, W, C]`` of TFLite, as ``[H, W, C]``."""
    image = image[0]
    return image if target == "tflite" else image.transpose(1, 2, 0)


def difference(folder: Path) -> float:
    """Largest absolute difference between what ``outputs.npz`` and ``own.npz`` hold of colours.

    Raises:
        JobError: the first is unreadable, or of another shape.
    """
    with np.load(folder / "own.npz") as stored:
        name = next(name for name in _COLOURS if name in stored)
        own = stored[name]
    try:
        with np.load(folder / "outputs.npz") as stored:
            made = stored[name]
    except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
        raise JobError("the outputs that the run left cannot be read", 1) from error
    if made.shape != own.shape:
        raise JobError(f"the run's output is {made.shape}, this machine's is {own.shape}", 1)
    return float(np.abs(made - own).max())


@job
def sample(report: Report, *, artifact: str, folder: str) -> dict[str, Any]:
    """Run an artifact on a photo: ``inputs.npz`` and ``own.npz``, in the artifact's layouts.

    Of several programs each gets a folder with these. ``photo`` and ``noise`` get the files of what
    runs beside them: a real photo as floats, to compare, and an 8-bit one, to time.

    Returns:
        Of several programs what :func:`_parts` says, else nothing.
    """
    path, target = Path(artifact), target_of(Path(artifact))
    report("running it here")
    spec = embedded_spec(path)
    if len(spec.parts) > 1:
        return _parts(path, Path(folder))
    if spec.integer_io:
        raise UserError(
            f"{path} takes images of 8 bits, and devices are given floats; export it without "
            "--integer-io"
        )
    if spec.options.io != "plain":
        raise UserError(f"{path} takes its network's own inputs; devices run --io plain")
    scene = next(spec.recipe.scenes(spec.options, None, None))
    inputs = dict(scene.inputs)
    with converter(target).load(path, 1) as runtime:
        outputs = runtime(**inputs)
    _store(Path(folder), path, inputs, outputs)
    return {}


def _store(
    folder: Path, artifact: Path, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
) -> None:
    """Keep a run in the artifact's own layouts."""
    last = converter(target_of(artifact)).channels_last(artifact)
    folder.mkdir(exist_ok=True)
    for name, arrays in (("inputs", inputs), ("own", outputs)):
        stored = {n: a.transpose(0, 2, 3, 1) if n in last else a for n, a in arrays.items()}
        np.savez(folder / f"{name}.npz", **stored)  # type: ignore[arg-type]


def _parts(artifact: Path, folder: Path) -> dict[str, Any]:
    """Take a fill apart.

    Returns:
        ``parts``: path and runs a fill of each program; ``timers``: path by machine; ``settings``
        of ``photo`` and of ``noise``; ``page`` and ``page_settings``, for a browser.
    """
    with deployed(artifact, 1) as made:
        spec = made.spec
        paths = partners(artifact, spec)
        scene = next(spec.recipe.scenes(spec.options, None, None))
        real = np.ascontiguousarray(scene.image[0].permute(1, 2, 0).numpy())
        scenes = {
            "photo": (real, scene.mask[0, 0].numpy() > 0),
            "noise": noise_photo(spec.options.window),
        }
        settings = {}
        for name, (photo, hole) in scenes.items():
            apart = spec.recipe.taken_apart(spec.options, made.programs, photo, hole)
            settings[name] = apart.settings
            place = folder / name
            place.mkdir()
            for file, values in apart.files.items():
                values.tofile(place / file)
            if name == "photo":
                np.savez(place / "own.npz", output=apart.filled)
                for part, run in apart.parts.items():
                    _store(folder / part, paths[part], run.inputs, run.outputs)
    return {
        "parts": {n: {"path": str(paths[n]), "runs": run.runs} for n, run in apart.parts.items()},
        "timers": {machine: str(path) for machine, path in apart.timers.items()},
        "settings": settings,
        "page": str(apart.page),
        "page_settings": dict(apart.page_settings),
    }
