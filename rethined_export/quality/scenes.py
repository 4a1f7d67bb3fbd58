"""Test sets: photos of one side, each under given or generated holes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rethined_export.models.rethined.config import LOW_RESOLUTION
from rethined_export.models.rethined.training.masks import THICK, THIN, Hole, boxes, strokes
from rethined_export.photo.files import read_mask, read_photo
from rethined_export.photo.masks import AS_IT_SAYS, MaskRule
from rethined_export.photo.scenes import middle, middle_hole, photo_path
from rethined_export.photo.window import Window
from rethined_export.quality.layouts import Layout

#: Photos inside the package, all from scikit-image.
BUNDLED = (
    "astronaut", "brick", "camera", "chelsea", "coffee", "grass", "gravel", "hubble", "ihc",
    "moon", "coins", "retina", "rocket",
)  # fmt: skip
#: Kinds of generated holes that are strokes, and their widths; the third kind is boxes.
STROKES = {"thick": THICK, "thin": THIN}
#: Cover of generated holes, least and most.
COVER = (0.2, 0.4)
#: Sides of the two-stage paper's comparison of resolutions, whose photos are reduced by taking the
#: nearest pixel.
STUDY_SIDES = (1024, 1536, 1792, 2048)


@dataclass(frozen=True)
class Case:
    """One photo under one hole.

    Attributes:
        photo: its name. kind: ``thick``, ``thin``, ``boxes``, ``centre`` or ``given``.
        image: RGB ``[1, 3, S, S]`` in [0, 1]. mask: ``[1, 1, S, S]``, 1 = hole.
        enlarged: how many times the photo was enlarged to be that large; at most 1 if it was not.
    """

    photo: str
    kind: str
    image: Tensor
    mask: Tensor
    enlarged: float


@dataclass(frozen=True)
class PhotoSet:
    """Photos, and a mask for each where the set brings its own, read by a rule."""

    layout: Layout
    rule: MaskRule = AS_IT_SAYS

    @property
    def photos(self) -> tuple[Path, ...]:
        """Of the layout."""
        return self.layout.photos

    @property
    def masks(self) -> tuple[Path, ...] | None:
        """Of the layout."""
        return self.layout.masks

    def study(self, side: int) -> Iterator[Case]:
        """Every photo, reduced by taking the nearest pixel, under a square of half its side."""
        hole = np.zeros((side, side), np.float32)
        hole[side // 4 : side - side // 4, side // 4 : side - side // 4] = 1
        for photo in self.photos:
            pixels = read_photo(photo).pixels
            image = torch.from_numpy(middle(pixels, Window.square(side), nearest=True))
            yield Case(photo.stem, "centre", image, _tensor(hole), side / min(pixels.shape[:2]))

    def cases(self, side: int, seed: int) -> Iterator[Case]:
        """Every photo under strokes, thick and thin, and boxes of the seed, or under its own."""
        holes = _drawn(seed)
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
            for kind, drawn in next(holes).items():
                large = cv2.resize(drawn, (side, side), interpolation=cv2.INTER_NEAREST)
                mask = _tensor(np.asarray(large, np.uint8))
                yield Case(photo.stem, kind, image, mask, enlarged)


def bundled() -> PhotoSet:
    """The photos of the package."""
    return PhotoSet(Layout(tuple(photo_path(name) for name in BUNDLED)))


def under_strokes(side: int, seed: int) -> list[Case]:
    """The photos of the package under strokes alone."""
    return [case for case in bundled().cases(side, seed) if case.kind in STROKES]


def _drawn(seed: int) -> Iterator[dict[str, Hole]]:
    """Holes of each kind for one photo after another, at 512."""
    random, other = np.random.default_rng(seed), np.random.default_rng((seed, 1))
    while True:
        drawn = {
            kind: strokes(random, LOW_RESOLUTION, random.uniform(*COVER), widths)
            for kind, widths in STROKES.items()
        }
        yield drawn | {"boxes": boxes(other, LOW_RESOLUTION, other.uniform(*COVER))}


def _tensor(hole: npt.NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(hole.astype(np.float32))[None, None]
