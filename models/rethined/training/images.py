"""Where training images come from: a folder, a pool of procedural ones drawn once, or both."""

import fnmatch
import multiprocessing
from collections.abc import Callable, Sequence
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
#: Whatever a file is called: Pillow hands some others to other programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")

#: Decoded photographs that each process keeps: decoding takes longer than a step of a small crop.
_KEPT_BYTES = 2**30
#: Slots that a mixture's images share; each image gets at least one.
_SLOTS = 2**14


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
    """The images under a folder, in the order of their names; the first read stay in memory."""

    def __init__(self, path: Path) -> None:
        self._kept: dict[int, Pixels] = {}
        self._kept_bytes = 0
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
        """``[H, W, 3]``, as stored; of 16 bits the upper eight."""
        if index in self._kept:
            return self._kept[index]
        path = self._paths[index]
        try:
            with Image.open(path, formats=_FORMATS) as image:
                if image.mode.startswith("I"):  # convert("RGB") would clip at 255
                    grey = np.asarray(image).astype(np.int64) >> 8
                    pixels = np.repeat(grey.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
                else:
                    pixels = np.asarray(image.convert("RGB"))
        except Exception as error:  # on damaged data Pillow raises nearly anything
            raise UnusableImageError(f"{path} ({error})") from error
        if self._kept_bytes + pixels.nbytes <= _KEPT_BYTES:
            self._kept[index] = pixels
            self._kept_bytes += pixels.nbytes
        return pixels

    def weights(self, by_pattern: Sequence[tuple[str, float]]) -> list[float]:
        """How often each image is drawn, relative to the others.

        Args:
            by_pattern: a weight for all files of a name (``forest-*``) together, which they share;
                an image takes the first that fits, and 1 if none does.

        Raises:
            TrainingError: a pattern that no file fits.
        """
        fitting: list[int | None] = []
        for path in self._paths:
            fits = (n for n, (name, _) in enumerate(by_pattern) if fnmatch.fnmatch(path.name, name))
            fitting.append(next(fits, None))
        for number, (name, _) in enumerate(by_pattern):
            if number not in fitting:
                raise TrainingError(f"no photograph is called {name} (or an earlier name takes it)")
        return [1.0 if n is None else by_pattern[n][1] / fitting.count(n) for n in fitting]


#: Images, their weights relative to each other (None: equal), and the share of draws they get.
Source = tuple[Images, Sequence[float] | None, float]


class Mixture:
    """Images of several sources as one set, each source drawn as often as its share says."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._slots: list[tuple[Images, int]] = []
        whole = sum(share for _, _, share in sources)
        for images, weights, share in sources:
            each = np.ones(len(images)) if weights is None else np.asarray(weights, float)
            slots = each / each.sum() * share / whole * _SLOTS
            for index, count in enumerate(np.maximum(1, np.rint(slots)).astype(int)):
                self._slots += [(images, index)] * int(count)

    def __len__(self) -> int:
        return len(self._slots)

    def name(self, index: int) -> str:
        """The image's own."""
        images, number = self._slots[index]
        return images.name(number)

    def read(self, index: int) -> Pixels:
        """``[H, W, 3]``."""
        images, number = self._slots[index]
        return images.read(number)


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
