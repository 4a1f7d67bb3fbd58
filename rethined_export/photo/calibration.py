"""Photos on which the ranges of activations are measured."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from rethined_export.errors import UserError
from rethined_export.models.rethined.training.procedural import scene as draw
from rethined_export.photo.files import read_mask, read_photo
from rethined_export.photo.scenes import (
    PHOTO_SUFFIXES,
    Scene,
    middle,
    middle_hole,
    strokes_over,
)
from rethined_export.photo.window import Window

Bools = npt.NDArray[np.bool_]
Bears = Callable[[Bools], bool]
#: Procedural images drawn, and the most photos read: ranges settle after a few.
DRAWN, MOST = 16, 64
#: Seeds of what is drawn: not those of training, nor of the photos that artifacts are judged on.
_SEED = 1701
#: Largest side of what is drawn; larger windows enlarge it.
_SIDE = 512
#: Shares of the image in the hole, in turn.
_COVERS = (0.05, 0.15, 0.3, 0.5)


@dataclass(frozen=True)
class Calibration:
    """What activations are measured on, and how.

    Attributes:
        photos: folder of photos; None: procedural images.
        masks: folder of masks, taken in turn; None: free-form strokes.
        method: how a range is read off the values.
    """

    photos: str | None = None
    masks: str | None = None
    method: str = "minmax"

    def embedded(self) -> Self:
        """As an artifact carries it: without places on this machine."""
        return replace(self, photos=None, masks=None)

    def check(self) -> None:
        """See whether there is anything to measure on.

        Raises:
            UserError: a folder holds no picture or an unreadable one, or every photo is of one
                colour, which would leave ranges of nothing.
        """
        if self.masks is not None:
            _pictures("--calibration-masks", self.masks)
        if self.photos is None:
            return
        for path in _pictures("--calibration", self.photos):
            pixels = read_photo(path).pixels
            if (pixels != pixels[:1, :1]).any():
                return
        raise UserError(
            f"every photo in --calibration {self.photos} is of one colour; ranges measured on them "
            "would fit no other; give real photos, or leave it out"
        )

    def scenes(self, window: Window, bears: Bears) -> Iterator[Scene]:
        """Photos under holes that an artifact can fill, always the same.

        Args:
            bears: whether it can fill a hole ``[H, W]``.

        Raises:
            UserError: a file cannot be read, or no mask can be filled.
        """
        holes = self._holes(window, bears)
        for number, (name, pixels) in enumerate(self._pixels(window)):
            if holes:
                image = torch.from_numpy(middle(pixels, window))
                hole = holes[number % len(holes)].astype(np.float32)
                yield Scene(name, image, torch.from_numpy(hole[None, None]))
            else:
                cover = _COVERS[number % len(_COVERS)]
                yield strokes_over(name, pixels, window, cover, _SEED + number, bears)

    def _pixels(self, window: Window) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        if self.photos is None:
            side = min(max(window), _SIDE)
            for number in range(DRAWN):
                yield f"drawn {number}", draw((_SEED, number), side)
            return
        for path in _pictures("--calibration", self.photos):
            yield path.name, read_photo(path).pixels

    def _holes(self, window: Window, bears: Bears) -> list[Bools]:
        """The masks of the folder at the window's size; none where none was given."""
        if self.masks is None:
            return []
        found: list[Bools] = []
        for path in _pictures("--calibration-masks", self.masks):
            hole = read_mask(path).hole
            with suppress(UserError):  # no hole in its middle
                small = middle_hole(path, hole, window)
                found += [small] if bears(small) else []
        if not found:
            raise UserError(
                f"no mask in --calibration-masks {self.masks} has a hole that the artifact can fill"
            )
        return found


class Fingerprint:
    """sha256 of all inputs that activations were measured on, in order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.scenes = 0

    def add(self, inputs: dict[str, npt.NDArray[Any]]) -> None:
        """One scene's inputs."""
        self.scenes += 1
        for name, values in sorted(inputs.items()):
            self._digest.update(f"{name} {values.dtype} {values.shape}".encode())
            self._digest.update(np.ascontiguousarray(values).tobytes())

    def facts(self) -> dict[str, Any]:
        """``scenes`` and ``sha256`` of all so far, for a manifest."""
        return {"scenes": self.scenes, "sha256": self._digest.hexdigest()}


def _pictures(option: str, folder: str) -> list[Path]:
    """The first pictures of a folder, by name.

    Raises:
        UserError: it is none, or holds none.
    """
    if not Path(folder).is_dir():
        raise UserError(f"{option} {folder} is not a folder")
    found = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in PHOTO_SUFFIXES)
    if not found:
        raise UserError(f"{option} {folder} holds no picture ({', '.join(sorted(PHOTO_SUFFIXES))})")
    return found[:MOST]
