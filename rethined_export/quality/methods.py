"""What is compared: this network in several forms, artifacts, and the classical fillers."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import patchmatch
import torch
from torch import Tensor

from rethined_export.inpaint import artifact_facts, fill_scenes
from rethined_export.models.rethined import LOW_RESOLUTION, Rethined
from rethined_export.models.rethined.filters import bicubic_upsample
from rethined_export.models.rethined.push_pull import push_pull
from rethined_export.photo.photo import Photo
from rethined_export.photo.squares import Fill, Floats, inpaint
from rethined_export.photo.window import Window
from rethined_export.quality.scenes import Case

Bytes = npt.NDArray[np.uint8]

#: Of the photos that artifacts are given: so many that rounding shows in no figure.
_LEVELS = 65535
#: Radius of OpenCV's fillers, in pixels, as its documentation shows them.
_RADIUS = 3
#: Radius of PatchMatch's patches, in pixels, as the package's examples have it.
_PATCH_RADIUS = 3


@dataclass(frozen=True)
class Filled:
    """Images ``[1, 3, S, S]`` in [0, 1], known pixels untouched, and the median time of one."""

    images: list[Tensor]
    milliseconds: float


class Method(Protocol):
    """Something that fills holes."""

    name: str
    #: Size of what must be shipped, in bytes; 0 if nothing.
    size: int

    def fits(self, side: int) -> bool:
        """Whether it works on squares of this side."""

    def fill(self, cases: list[Case]) -> Filled:
        """Fill every case; all are of one side."""


class Function:
    """A method that is a function of one image and mask.

    Args:
        multiple: sides that it works at are multiples of this.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Tensor, Tensor], Tensor],
        size: int = 0,
        multiple: int = LOW_RESOLUTION,
    ) -> None:
        self.name, self.size, self._run, self._multiple = name, size, run, multiple

    def fits(self, side: int) -> bool:
        """By its multiple."""
        return side % self._multiple == 0

    def fill(self, cases: list[Case]) -> Filled:
        """One after another, timed."""
        images, seconds = [], []
        with torch.no_grad():
            for case in cases:
                begun = time.perf_counter()
                made = self._run(case.image * (1 - case.mask), case.mask)
                seconds.append(time.perf_counter() - begun)
                images.append(_composed(case, made))
        return Filled(images, 1000 * float(np.median(seconds)))


class Artifact:
    """An exported file, or the first of several programs, run in a process of its own.

    It fills as ``rethined-inpaint`` does: one window around the hole, resampled where the hole
    needs more than that, so that artifacts of any size can be compared at any side.
    """

    def __init__(self, path: Path) -> None:
        self.name, self._path = path.name, path
        self._facts = artifact_facts(path)
        files = path.rglob("*") if path.is_dir() else [path]
        self.size = sum(file.stat().st_size for file in files if file.is_file())

    def fits(self, side: int) -> bool:
        """Anywhere; where its caller fills photos in place, at its own window only."""
        return not self._facts.in_place or self._facts.window == Window.square(side)

    def fill(self, cases: list[Case]) -> Filled:
        """All cases in one process."""
        asked: list[tuple[Floats, Floats]] = []

        def note(image: Floats, mask: Floats) -> Floats:
            asked.append((image, mask))
            return image

        for case in cases:
            self._inpaint(case, note)
        images, masks = map(list, zip(*asked, strict=True))
        made, seconds = fill_scenes(self._path, images, masks, self._facts.runs)
        answers = iter(made)
        filled = [self._inpaint(case, lambda *_: next(answers)) for case in cases]
        return Filled(filled, 1000 * float(np.median(seconds)))

    def _inpaint(self, case: Case, fill: Fill) -> Tensor:
        """The case filled by a function of the artifact's window."""
        pixels = np.rint(case.image[0].permute(1, 2, 0).numpy() * _LEVELS).astype(np.uint16)
        hole = case.mask[0, 0].numpy() > 0
        made = inpaint(Photo(pixels), hole, fill, self._facts.window, middle=self._facts.middle)
        values = torch.from_numpy(made.pixels.astype(np.float32) / np.float32(_LEVELS))
        return _composed(case, values.permute(2, 0, 1)[None])


def classical() -> list[Method]:
    """OpenCV's fillers, PatchMatch, and the push–pull fill that the network starts from."""
    return [
        Function("Telea (OpenCV)", _opencv(cv2.INPAINT_TELEA), multiple=1),
        Function("Navier–Stokes (OpenCV)", _opencv(cv2.INPAINT_NS), multiple=1),
        Function("PatchMatch (PyPatchMatch)", _patch_match, multiple=1),
        Function("push–pull fill", lambda image, mask: _at_low(image, mask, push_pull)),
    ]


def network(model: Rethined) -> list[Method]:
    """The reference model: its coarse image alone, without attention upscaling, and with it."""
    size = sum(p.numel() * p.element_size() for p in model.parameters())

    def coarse(image: Tensor, mask: Tensor) -> Tensor:
        return _at_low(image, mask, lambda x, m: model.coarse_model(x, m)[0])

    def upsampled(image: Tensor, mask: Tensor) -> Tensor:
        return bicubic_upsample(model(image, mask, 1).low, image.shape[-1] // LOW_RESOLUTION)

    def whole(top_k: int | None) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda image, mask: model(image, mask, top_k).output

    return [
        Function("coarse model only", coarse, size),
        Function("low resolution, enlarged", upsampled, size),
        Function("dense softmax", whole(None), size),
        Function("k = 4", whole(4), size),
        Function("k = 1", whole(1), size),
    ]


def _at_low(image: Tensor, mask: Tensor, fill: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """A low-resolution filler on an image of any side: averaged down, enlarged again."""
    scale = image.shape[-1] // LOW_RESOLUTION
    hole = torch.nn.functional.max_pool2d(mask, scale)
    small = torch.nn.functional.avg_pool2d(image, scale) * (1 - hole)
    low = hole * fill(small, hole) + small
    return low if scale == 1 else bicubic_upsample(low, scale)


def _opencv(flag: int) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda image, mask: _in_bytes(
        image, mask, lambda pixels, hole: cv2.inpaint(pixels, hole, _RADIUS, flag)
    )


def _patch_match(image: Tensor, mask: Tensor) -> Tensor:
    """Barnes et al., SIGGRAPH 2009, from coarse to fine; the same each time."""
    patchmatch.set_random_seed(0)
    return _in_bytes(
        image,
        mask,
        lambda pixels, hole: patchmatch.inpaint(pixels, hole, patch_size=_PATCH_RADIUS),
    )


def _in_bytes(image: Tensor, mask: Tensor, fill: Callable[[Bytes, Bytes], Any]) -> Tensor:
    """By a function of RGB ``[S, S, 3]`` and hole ``[S, S]``, both in 8 bits."""
    pixels = (image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    filled = fill(np.ascontiguousarray(pixels), mask[0, 0].numpy().astype(np.uint8))
    return torch.from_numpy(filled).permute(2, 0, 1)[None].float() / 255


def _composed(case: Case, made: Tensor) -> Tensor:
    """What a user would get: the hole filled with values that a picture can hold."""
    return torch.where(case.mask > 0, made.clamp(0, 1), case.image)
