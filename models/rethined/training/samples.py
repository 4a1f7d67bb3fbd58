"""Training samples: a crop of an image, and a hole. Sample n is the same in every run.

Crops travel from the processes that make them as bytes, a quarter of what floats would take.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from rethined_export.models.rethined.training.images import Images, Pixels, UnusableImageError
from rethined_export.models.rethined.training.masks import training_hole
from rethined_export.models.rethined.training.settings import TrainingError

#: Images tried for one sample before the folder is given up.
_ATTEMPTS = 20
#: Share of samples whose colours are taken away.
_GREY = 0.125


@dataclass(frozen=True)
class Batch:
    """What a step trains on.

    Attributes:
        image: ``[B, 3, S, S]`` in [0, 1]. mask: ``[B, 1, S, S]``, 1 = hole.
        skipped: images that could not be used, with the reason.
    """

    image: Tensor
    mask: Tensor
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class PackedBatch:
    """The same in bytes.

    Attributes:
        pixels: uint8 ``[B, S, S, 3]``. hole: uint8 ``[B, S, S]``, 1 = hole.
        skipped: as above.
    """

    pixels: Tensor
    hole: Tensor
    skipped: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """Unpacked on a device."""
        pixels, hole = (x.to(device, non_blocking=True) for x in (self.pixels, self.hole))
        image = pixels.permute(0, 3, 1, 2).contiguous().float() / 255
        return Batch(image, hole[:, None].float(), self.skipped)


class Samples(Dataset[PackedBatch]):
    """Samples by number; each draws from a generator of its own."""

    def __init__(self, images: Images, side: int, seed: int) -> None:
        self._images, self._side, self._seed = images, side, seed

    def __getitem__(self, index: int) -> PackedBatch:
        """Sample ``index``, as a batch of one."""
        random = np.random.default_rng((self._seed, index))
        skipped: list[str] = []
        for _ in range(_ATTEMPTS):
            try:
                pixels = self._crop(random, int(random.integers(len(self._images))))
                break
            except UnusableImageError as error:
                skipped.append(str(error))
        else:
            raise TrainingError(f"{_ATTEMPTS} images in a row cannot be used; last: {skipped[-1]}")
        pixels = recoloured(random, pixels)
        hole = training_hole(random, pixels)
        packed = torch.from_numpy(pixels)[None], torch.from_numpy(hole)[None]
        return PackedBatch(*packed, tuple(skipped))

    def _crop(self, random: np.random.Generator, index: int) -> Pixels:
        """A square of random place and size, shrunk to the side, flipped or not."""
        pixels = self._images.read(index)
        height, width = pixels.shape[:2]
        most = min(height, width)
        if most < self._side:
            name = self._images.name(index)
            raise UnusableImageError(f"{name} ({width}×{height}, under {self._side})")
        edge = round(self._side * (most / self._side) ** random.uniform())
        top, left = random.integers(height - edge + 1), random.integers(width - edge + 1)
        square = pixels[top : top + edge, left : left + edge]
        small = cv2.resize(square, (self._side, self._side), interpolation=cv2.INTER_AREA)
        if random.random() < 0.5:
            small = np.ascontiguousarray(small[:, ::-1])
        return np.asarray(small, np.uint8)


def recoloured(random: np.random.Generator, pixels: Pixels) -> Pixels:
    """Another exposure, contrast and white balance, on two images of three; ``[S, S, 3]``.

    One in eight is grey: a network that hardly ever saw grey stone painted it blue.
    """
    if random.random() < _GREY:
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if random.random() < 1 / 3:
        return pixels
    gamma = np.exp(random.normal(0, 0.25))
    gains = np.exp(random.normal(0, 0.12)) * np.exp(random.normal(0, 0.05, 3))
    levels = np.linspace(0, 1, 256)[:, None] ** gamma * gains
    table = (255 * levels.clip(0, 1)).round().astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, table[None]), np.uint8)


def collate(samples: list[PackedBatch]) -> PackedBatch:
    """Batches of one, joined."""
    return PackedBatch(
        torch.cat([sample.pixels for sample in samples]),
        torch.cat([sample.hole for sample in samples]),
        tuple(name for sample in samples for name in sample.skipped),
    )
