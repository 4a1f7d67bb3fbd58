"""What fills photos for :func:`rethined_export.photo.squares.inpaint`, one process a call."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rethined_export.errors import UserError
from rethined_export.jobs.parent import run_job, worker_threads
from rethined_export.photo.files import Pixels
from rethined_export.photo.squares import Bools, FillPhoto

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ArtifactFacts:
    """What an artifact says of itself: the side of its square, and which part of a model it is."""

    side: int
    part: str


def artifact_facts(artifact: Path) -> ArtifactFacts:
    """Read them from the file itself.

    Raises:
        UserError: missing.
        JobError: not an artifact, or damaged.
    """
    if not artifact.exists():
        raise UserError(f"artifact {artifact} does not exist; rethined-export writes them")
    facts = run_job("describe", {"artifact": str(artifact)}, lambda _: None)
    return ArtifactFacts(int(facts["hr"]), str(facts["part"]))


def filler(
    artifact: Path | None, side: int, on_stage: Callable[[str], None]
) -> Callable[[Floats, Floats], Floats]:
    """A function from image ``[1, 3, S, S]`` and mask ``[1, 1, S, S]`` to image, S = side.

    Args:
        artifact: file to run; None runs the torch graph with the shipped weights.
    """

    def fill(image: Floats, mask: Floats) -> Floats:
        job = {"artifact": None if artifact is None else str(artifact), "hr": side}
        return _run("fill", job, {"image": image, "mask": mask}, "output", on_stage)

    return fill


def fill_scenes(
    artifact: Path, images: list[Floats], masks: list[Floats]
) -> tuple[list[Floats], list[float]]:
    """Fill squares with an artifact, all in one process.

    Args:
        artifact: a whole, or the low half of a pair. images: ``[1, 3, S, S]``.
        masks: ``[1, 1, S, S]``.

    Returns:
        The filled images, and the seconds that each took.
    """
    made: list[Floats] = []
    with _scratch() as folder:
        for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
            np.save(folder / f"image-{number}.npy", image)
            np.save(folder / f"mask-{number}.npy", mask)
        place = {"folder": str(folder), "threads": worker_threads(), "count": len(images)}
        told = run_job("fill_scenes", {"artifact": str(artifact)} | place, lambda _: None)
        made = [np.load(folder / f"output-{number}.npy") for number in range(len(images))]
    return made, list(told["seconds"])


def photo_filler(artifact: Path, on_stage: Callable[[str], None]) -> FillPhoto:
    """A function that fills the hole in a photo with a split pair, at the photo's own resolution.

    Args:
        artifact: the pair's low half.
    """

    def fill(photo: Pixels, hole: Bools, top: int, left: int) -> Pixels:
        job = {"artifact": str(artifact), "top": top, "left": left}
        return _run("fill_photo", job, {"photo": photo, "hole": hole}, "photo", on_stage)

    return fill


def _run(
    job: str,
    arguments: dict[str, Any],
    arrays: dict[str, npt.NDArray[Any]],
    result: str,
    on_stage: Callable[[str], None],
) -> npt.NDArray[Any]:
    """Run a job that takes arrays, as files by name in a folder, and leaves its result there."""
    with _scratch() as folder:
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        place = {"folder": str(folder), "threads": worker_threads()}
        run_job(job, arguments | place, on_stage)
        made: npt.NDArray[Any] = np.load(folder / f"{result}.npy")
        return made


@contextmanager
def _scratch() -> Iterator[Path]:
    """A temporary folder.

    Raises:
        UserError: it cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="rethined-") as folder:
            yield Path(folder)
    except OSError as error:
        raise UserError(
            f"cannot write temporary files in {tempfile.gettempdir()}: "
            f"{error.strerror or error}; free some space there, or set TMPDIR"
        ) from error
