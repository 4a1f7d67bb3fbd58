"""What fills photos for :func:`rethined_export.inpaint.inpaint`, one process a call."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rethined_export.errors import UserError
from rethined_export.inpaint import Bools, FillPhoto
from rethined_export.jobs import run_job, worker_threads
from rethined_export.photo import Pixels

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
        artifact: file to run; None runs the torch graph with untrained weights.
    """

    def fill(image: Floats, mask: Floats) -> Floats:
        with _scratch() as folder:
            np.save(folder / "image.npy", image)
            np.save(folder / "mask.npy", mask)
            job = {
                "artifact": None if artifact is None else str(artifact),
                "hr": side,
                "folder": str(folder),
                "threads": worker_threads(),
            }
            run_job("fill", job, on_stage)
            output: Floats = np.load(folder / "output.npy")
            return output

    return fill


def photo_filler(artifact: Path, on_stage: Callable[[str], None]) -> FillPhoto:
    """A function that fills the hole in a photo with a split pair, at the photo's own resolution.

    Args:
        artifact: the pair's low half.
    """

    def fill(photo: Pixels, hole: Bools, top: int, left: int) -> Pixels:
        with _scratch() as folder:
            np.save(folder / "photo.npy", photo)
            np.save(folder / "hole.npy", hole)
            job = {
                "artifact": str(artifact),
                "top": top,
                "left": left,
                "folder": str(folder),
                "threads": worker_threads(),
            }
            run_job("fill_photo", job, on_stage)
            filled: Pixels = np.load(folder / "photo.npy")
            return filled

    return fill


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
