"""Fixed-size square functions for :func:`rethined_export.inpaint.inpaint`, one process a call."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rethined_export.errors import UserError
from rethined_export.jobs import run_job, worker_threads

Floats = npt.NDArray[np.float32]


def artifact_side(artifact: Path) -> int:
    """Side of the square an artifact takes, read from the file itself.

    Raises:
        UserError: missing.
        JobError: not an artifact, or damaged.
    """
    if not artifact.exists():
        raise UserError(f"artifact {artifact} does not exist; rethined-export writes them")
    return int(run_job("describe", {"artifact": str(artifact)}, lambda _: None)["hr"])


def filler(
    artifact: Path | None, side: int, on_stage: Callable[[str], None]
) -> Callable[[Floats, Floats], Floats]:
    """A function from image ``[1, 3, S, S]`` and mask ``[1, 1, S, S]`` to image, S = side.

    Args:
        artifact: file to run; None runs the torch graph with untrained weights.
    """

    def fill(image: Floats, mask: Floats) -> Floats:
        try:
            with tempfile.TemporaryDirectory(prefix="rethined-") as folder:
                return fill_in(Path(folder), image, mask)
        except OSError as error:
            raise UserError(
                f"cannot write temporary files in {tempfile.gettempdir()}: "
                f"{error.strerror or error}; free some space there, or set TMPDIR"
            ) from error

    def fill_in(folder: Path, image: Floats, mask: Floats) -> Floats:
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
