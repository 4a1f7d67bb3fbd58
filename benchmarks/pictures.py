"""What an artifact does, to look at: a photo, its hole, and the photo filled."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from rethined_export.benchmarks.sample import read_shown, sample
from rethined_export.benchmarks.subjects import paste
from rethined_export.converters import target_of
from rethined_export.jobs.parent import run_job

_SIDE = 320
_HOLE = (255, 0, 255)
Photo = npt.NDArray[np.uint8]


def pictures(artifact: Path, tell: Callable[[str], None]) -> dict[str, bytes]:
    """PNG files by caption, of where a bundled photo has most hole, filled by this machine.

    Raises:
        JobError: not the first of several programs, or it cannot be run here.
    """
    target = target_of(artifact)
    with tempfile.TemporaryDirectory(prefix="rethined-") as folder:
        run_job(sample, {"artifact": str(artifact), "folder": folder}, tell)
        scene, output = read_shown(Path(folder), target)
    marked = scene.photo.copy()
    marked[scene.hole] = _HOLE
    filled = paste(scene.photo, scene.hole, output)
    window = _window(scene.hole)
    shown = {"photo": scene.photo, "hole": marked, "filled": filled}
    return {caption: _png(photo[window]) for caption, photo in shown.items()}


def _window(hole: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """The square of half the side that has most hole."""
    side = len(hole) // 2
    share = cv2.boxFilter(hole.astype(np.float32), -1, (side, side), anchor=(0, 0))
    top, left = np.unravel_index(share[:-side, :-side].argmax(), (len(hole) - side,) * 2)
    return slice(int(top), int(top) + side), slice(int(left), int(left) + side)


def _png(photo: Photo) -> bytes:
    small = cv2.resize(photo, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".png", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1].tobytes()
