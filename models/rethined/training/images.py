"""Where training images come from: a folder, or a pool of procedural ones drawn once."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
from filelock import FileLock
from PIL import Image

from rethined_export.models.rethined.training.procedural import scene
from rethined_export.models.rethined.training.settings import IMAGE_SIDE, TrainingError

Pixels = npt.NDArray[np.uint8]
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


class UnusableImageError(Exception):
    """One image that a run goes on without; the message names it and says why."""


class Images(Protocol):
    """A finite, ordered set of RGB images."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What to call an image in a message."""

    def read(self, index: int) -> Pixels:
        """``[H, W, 3]``. Raises UnusableImageError."""


class Folder:
    """The images under a folder, in the order of their names."""

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise TrainingError(f"{path} is not a folder of images")
        self._paths = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not self._paths:
            raise TrainingError(f"{path} holds no image ({', '.join(sorted(SUFFIXES))})")

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        """Its path."""
        return str(self._paths[index])

    def read(self, index: int) -> Pixels:
        """``[H, W, 3]``, as stored."""
        path = self._paths[index]
        try:
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB"))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise UnusableImageError(f"{path} ({error})") from error


class ProceduralPool:
    """Procedural images, drawn once into a file that every process maps."""

    def __init__(self, path: Path) -> None:
        self._pixels = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self._pixels)

    def name(self, index: int) -> str:
        """Its number."""
        return f"procedural image {index}"

    def read(self, index: int) -> Pixels:
        """``[512, 512, 3]``."""
        return np.asarray(self._pixels[index])


def procedural_pool(
    folder: Path, seed: int, count: int, workers: int, tell: Callable[[int], None]
) -> ProceduralPool:
    """Draw the pool of a seed, or reuse the one that an earlier run left.

    Args:
        folder: where the pool lies; made if need be.
        workers: processes to draw with.
        tell: called with the number of images drawn so far.
    """
    path = folder / f"procedural-{seed}-{count}.npy"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):  # one of several processes draws it
        if not path.exists():
            _draw(path, seed, count, workers, tell)
    return ProceduralPool(path)


def _draw(path: Path, seed: int, count: int, workers: int, tell: Callable[[int], None]) -> None:
    half = path.with_suffix(".tmp")
    shape = (count, IMAGE_SIDE, IMAGE_SIDE, 3)
    pool = np.lib.format.open_memmap(half, "w+", np.uint8, shape)  # type: ignore[no-untyped-call]
    # Not forked: a process that already runs OpenCV's threads cannot safely be copied.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, cv2.setNumThreads, (1,)) as processes:
        seeds = [(seed, index) for index in range(count)]
        drawn = processes.map(scene, seeds, [IMAGE_SIDE] * count, chunksize=16)
        for index, pixels in enumerate(drawn):
            pool[index] = pixels
            tell(index + 1)
    pool.flush()
    half.replace(path)
