"""Test sets: photos of one side, each under given or generated holes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rethined_export.errors import UserError
from rethined_export.models.rethined.config import LOW_RESOLUTION
from rethined_export.models.rethined.training.images import SUFFIXES
from rethined_export.models.rethined.training.masks import THICK, THIN, strokes
from rethined_export.photo.files import read_mask, read_photo
from rethined_export.photo.masks import AS_IT_SAYS, MaskRule
from rethined_export.photo.scenes import middle, middle_hole, photo_path
from rethined_export.photo.window import Window

#: Photos inside the package, all from scikit-image.
BUNDLED = (
    "astronaut", "brick", "camera", "chelsea", "coffee", "grass", "gravel", "hubble", "ihc",
    "moon", "coins", "retina", "rocket",
)  # fmt: skip
#: Kinds of generated holes, and the widths of their strokes.
KINDS = {"thick": THICK, "thin": THIN}
#: Cover of generated holes, least and most.
COVER = (0.2, 0.4)


@dataclass(frozen=True)
class Case:
    """One photo under one hole.

    Attributes:
        photo: its name. kind: ``thick``, ``thin`` or ``given``.
        image: RGB ``[1, 3, S, S]`` in [0, 1]. mask: ``[1, 1, S, S]``, 1 = hole.
        enlarged: how many times the photo was enlarged to be that large; at most 1 if it was not.
    """

    photo: str
    kind: str
    image: Tensor
    mask: Tensor
    enlarged: float


@dataclass(frozen=True)
class TestSet:
    """Photos, and a mask for each where the set brings its own, read by a rule."""

    photos: tuple[Path, ...]
    masks: tuple[Path, ...] | None
    rule: MaskRule = AS_IT_SAYS

    def cases(self, side: int, seed: int) -> Iterator[Case]:
        """Every photo under a thick and a thin hole of the seed, or under its own."""
        random = np.random.default_rng(seed)
        for number, photo in enumerate(self.photos):
            pixels = read_photo(photo).pixels
            image = torch.from_numpy(middle(pixels, Window.square(side)))
            enlarged = side / min(pixels.shape[:2])
            if self.masks is not None:
                path = self.masks[number]
                marked = read_mask(path, self.rule).hole
                given = middle_hole(path, marked, Window.square(side))
                yield Case(photo.stem, "given", image, _tensor(given), enlarged)
                continue
            for kind, widths in KINDS.items():
                drawn = strokes(random, LOW_RESOLUTION, random.uniform(*COVER), widths)
                large = cv2.resize(drawn, (side, side), interpolation=cv2.INTER_NEAREST)
                mask = _tensor(np.asarray(large, np.uint8))
                yield Case(photo.stem, kind, image, mask, enlarged)


def bundled() -> TestSet:
    """The photos of the package."""
    return TestSet(tuple(photo_path(name) for name in BUNDLED), None)


def folder(images: Path, masks: Path | None, rule: MaskRule = AS_IT_SAYS) -> TestSet:
    """Photos of a folder; with ``images`` and ``masks`` in it, as DF8K-Inpainting has, those.

    Args:
        masks: folder of masks with the photos' names; None generates them.
        rule: how to read them.

    Raises:
        UserError: no photo, or a photo without a mask.
    """
    if masks is None and (images / "images").is_dir() and (images / "masks").is_dir():
        images, masks = images / "images", images / "masks"
    photos = _pictures(images)
    if masks is None:
        return TestSet(photos, None)
    named = {path.stem: path for path in _pictures(masks)}
    if lacking := [photo.name for photo in photos if photo.stem not in named]:
        raise UserError(f"{masks} has no mask for {', '.join(lacking[:5])} ({len(lacking)} in all)")
    return TestSet(photos, tuple(named[photo.stem] for photo in photos), rule)


def _pictures(path: Path) -> tuple[Path, ...]:
    if not path.is_dir():
        raise UserError(f"{path} is not a folder")
    found = tuple(sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES))
    if not found:
        raise UserError(f"{path} holds no picture ({', '.join(sorted(SUFFIXES))})")
    return found


def _tensor(hole: npt.NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(hole.astype(np.float32))[None, None]
