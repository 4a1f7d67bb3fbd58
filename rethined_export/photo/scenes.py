"""Photos and free-form masks that artifacts are compared on."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rethined_export.errors import UserError
from rethined_export.models.rethined.config import GRID, TOKENS
from rethined_export.photo.files import read_mask, read_photo
from rethined_export.photo.masks import AS_IT_SAYS, MaskRule
from rethined_export.photo.resampling import touched

Pixels = npt.NDArray[np.unsignedinteger[Any]]
_T = TypeVar("_T", bound=np.generic)

#: Bundled photos and the share of the image their masks cover.
DEFAULT_SCENES = (("astronaut", 0.05), ("coffee", 0.15), ("rocket", 0.30), ("hubble", 0.50))


@dataclass(frozen=True)
class Scene:
    """One input of the network.

    Attributes:
        name: of the photo.
        image: ``[1, 3, S, S]`` in [0, 1]; ``mask``: ``[1, 1, S, S]``, 1 = hole.
    """

    name: str
    image: Tensor
    mask: Tensor

    @property
    def cover(self) -> float:
        """Share of the image in the hole."""
        return float(self.mask.mean())


def photo_path(name: str) -> Path:
    """A bundled photo."""
    return Path(str(resources.files("rethined_export.photos"))) / f"{name}.jpg"


def default_scenes(side: int, most_tokens: int = TOKENS) -> Iterator[Scene]:
    """The bundled photos at one resolution, each under a free-form mask of its own seed.

    Args:
        most_tokens: hole tokens a mask may have; its cover shrinks until it has no more.
    """
    for seed, (name, cover) in enumerate(DEFAULT_SCENES):
        pixels = read_photo(photo_path(name)).pixels
        mask = free_form_mask(side, cover, seed)
        while np.count_nonzero(_by_token(mask)) > most_tokens:
            cover *= 0.9
            mask = free_form_mask(side, cover, seed)
        yield Scene(name, torch.from_numpy(square(pixels, side)), _mask(mask))


def user_scene(image: Path, mask: Path, side: int, rule: MaskRule = AS_IT_SAYS) -> Scene:
    """A user's photo and mask, cut to the middle square and resized to the artifact's side.

    Args:
        rule: how to read the mask.

    Raises:
        UserError: unreadable, of different sizes, or no hole, or nothing but hole, in that square.
    """
    photo, hole = read_photo(image), read_mask(mask, rule).hole
    if photo.pixels.shape[:2] != hole.shape:
        raise UserError(
            f"{image} is {photo.pixels.shape[1]}×{photo.pixels.shape[0]} but {mask} is "
            f"{hole.shape[1]}×{hole.shape[0]}; they must be equal"
        )
    small = square_hole(mask, hole, side)
    return Scene(image.stem, torch.from_numpy(square(photo.pixels, side)), _mask(small))


def square_hole(path: Path, hole: npt.NDArray[np.bool_], side: int) -> npt.NDArray[np.bool_]:
    """The middle square of a mask ``[H, W]`` at another side, ``[side, side]``.

    A pixel that covers any part of a hole is hole, so that lines one pixel wide stay.

    Raises:
        UserError: that square has no hole, or nothing but hole; ``path`` is named.
    """
    small = touched(_middle(hole), (side, side))
    if not small.any() or small.all():
        state = "no hole" if not small.any() else "nothing but hole"
        raise UserError(f"{path} has {state} in its middle square; there is nothing to compare")
    return small


def square(pixels: Pixels, side: int) -> npt.NDArray[np.float32]:
    """The middle square of a photo at another side, as networks take it.

    Args:
        pixels: ``[H, W, C]`` as :class:`~rethined_export.photo.files.Photo` has them.

    Returns:
        RGB ``[1, 3, side, side]`` in [0, 1].
    """
    small = _square(_to_rgb(pixels), side, cv2.INTER_LANCZOS4)
    values = small.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def free_form_mask(side: int, cover: float, seed: int) -> npt.NDArray[np.bool_]:
    """Brush strokes of random width and turns, drawn until they cover the given share.

    The strokes are drawn at 512 and enlarged, so that one seed gives one shape at any resolution.

    Args:
        cover: share of the image, 0 to 1, met to within one stroke's segment.
    """
    random = np.random.default_rng(seed)
    canvas = np.zeros((512, 512), np.uint8)
    while canvas.mean() < cover:
        point = random.integers(0, 512, 2)
        angle = random.uniform(0, 2 * np.pi)
        width = int(random.integers(10, 40))
        for _ in range(random.integers(3, 9)):
            angle += random.normal(0, 0.8)
            reach = random.uniform(20, 80)
            step = np.array([np.cos(angle), np.sin(angle)]) * reach
            following = np.clip(point + step, 0, 511).astype(np.int64)
            cv2.line(canvas, _pixel(point), _pixel(following), 1, width)
            cv2.circle(canvas, _pixel(following), width // 2, 1, -1)
            point = following
            if canvas.mean() >= cover:
                break
    large = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_NEAREST)
    return large.astype(bool)


def _by_token(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which tokens of the grid hold any hole pixel."""
    size = len(mask) // GRID
    return np.asarray(mask.reshape(GRID, size, GRID, size).any(axis=(1, 3)), np.bool_)


def _pixel(point: npt.NDArray[np.int64]) -> tuple[int, int]:
    return int(point[0]), int(point[1])


def _square(pixels: Pixels, side: int, method: int) -> Pixels:
    """The middle square, resized; shrinking averages, so that texture does not alias."""
    square = _middle(pixels)
    if len(square) > side:
        method = cv2.INTER_AREA
    return np.asarray(cv2.resize(square, (side, side), interpolation=method), pixels.dtype)


def _middle(pixels: npt.NDArray[_T]) -> npt.NDArray[_T]:
    """The middle square of ``[H, W, …]``."""
    height, width = pixels.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    return pixels[top : top + edge, left : left + edge]


def _to_rgb(pixels: Pixels) -> Pixels:
    channels = pixels.shape[2]
    return pixels[:, :, :3] if channels >= 3 else np.repeat(pixels[:, :, :1], 3, axis=2)


def _mask(hole: npt.NDArray[np.bool_]) -> Tensor:
    return torch.from_numpy(hole.astype(np.float32)[None, None])
