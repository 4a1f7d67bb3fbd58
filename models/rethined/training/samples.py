"""Training samples: a crop of an image, and a hole. Sample n is the same in every run."""

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

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        return Batch(self.image.to(device), self.mask.to(device), self.skipped)


class Samples(Dataset[Batch]):
    """Samples by number; each draws from a generator of its own."""

    def __init__(self, images: Images, side: int, seed: int) -> None:
        self._images, self._side, self._seed = images, side, seed

    def __getitem__(self, index: int) -> Batch:
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
        image = torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 255
        hole = torch.from_numpy(training_hole(random, self._side)).float()
        return Batch(image[None], hole[None, None], tuple(skipped))

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
        if random.random() < 0.5:
            square = square[:, ::-1]
        small = cv2.resize(square, (self._side, self._side), interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.uint8)


def collate(samples: list[Batch]) -> Batch:
    """Batches of one, joined."""
    return Batch(
        torch.cat([sample.image for sample in samples]),
        torch.cat([sample.mask for sample in samples]),
        tuple(name for sample in samples for name in sample.skipped),
    )
