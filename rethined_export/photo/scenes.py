"""Photos and free-form masks that artifacts are compared on."""

from collections.abc import Callable, Iterator
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
from rethined_export.photo.files import read_mask, read_photo
from rethined_export.photo.masks import AS_IT_SAYS, MaskRule
from rethined_export.photo.resampling import touched
from rethined_export.photo.window import Window

Pixels = npt.NDArray[np.unsignedinteger[Any]]
Bools = npt.NDArray[np.bool_]
_T = TypeVar("_T", bound=np.generic)

#: Endings of the photos that are looked for in a folder.
PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
#: Bundled photos and the share of the image their masks cover.
DEFAULT_SCENES = (("astronaut", 0.05), ("coffee", 0.15), ("rocket", 0.30), ("hubble", 0.50))


@dataclass(frozen=True)
class Scene:
    """One input of the network.

    Attributes:
        name: of the photo.
        image: ``[1, 3, H, W]`` in [0, 1]; ``mask``: ``[1, 1, H, W]``, 1 = hole.
    """

    name: str
    image: Tensor
    mask: Tensor

    @property
    def cover(self) -> float:
        """Share of the image in the hole."""
        return float(self.mask.mean())

    @property
    def inputs(self) -> dict[str, npt.NDArray[Any]]:
        """As a runner takes them."""
        return {"image": self.image.numpy(), "mask": self.mask.numpy()}


def _any_hole(_hole: Bools) -> bool:
    return True


def photo_path(name: str) -> Path:
    """A bundled photo."""
    return Path(str(resources.files("rethined_export.photos"))) / f"{name}.jpg"


def default_scenes(window: Window, bears: Callable[[Bools], bool] = _any_hole) -> Iterator[Scene]:
    """The bundled photos at one resolution, each under a free-form mask of its own seed.

    Args:
        bears: whether an artifact can fill a hole ``[H, W]``; covers shrink until it can.
    """
    for seed, (name, cover) in enumerate(DEFAULT_SCENES):
        pixels = read_photo(photo_path(name)).pixels
        yield strokes_over(name, pixels, window, cover, seed, bears)


def folder_scenes(
    folder: Path, window: Window, bears: Callable[[Bools], bool] = _any_hole
) -> Iterator[Scene]:
    """Every photo of a folder, in order of their names, under free-form masks like the bundled.

    Raises:
        UserError: no folder, no photo in it, or all of them are of one colour each.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder of photos")
    photos = sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES)
    if not photos:
        raise UserError(f"{folder} holds no photo ({', '.join(sorted(PHOTO_SUFFIXES))})")
    varied = False
    for seed, photo in enumerate(photos):
        cover = DEFAULT_SCENES[seed % len(DEFAULT_SCENES)][1]
        scene = strokes_over(photo.stem, read_photo(photo).pixels, window, cover, seed, bears)
        varied = varied or bool((scene.image.amax((2, 3)) > scene.image.amin((2, 3))).any())
        yield scene
    if not varied:
        raise UserError(f"the photos of {folder} are of one colour each; give photographs")


def strokes_over(
    name: str,
    pixels: Pixels,
    window: Window,
    cover: float,
    seed: int,
    bears: Callable[[Bools], bool] = _any_hole,
) -> Scene:
    """A photo ``[H, W, C]`` under a free-form mask that covers a share of it at most.

    Args:
        bears: whether an artifact can fill a hole ``[H, W]``; the cover shrinks until it can.
    """
    mask = free_form_mask(window, cover, seed)
    while not bears(mask):
        cover *= 0.9
        mask = free_form_mask(window, cover, seed)
    return Scene(name, torch.from_numpy(middle(pixels, window)), _mask(mask))


def user_scene(
    image: Path, mask: Path, window: Window, rule: MaskRule = AS_IT_SAYS, frame: int = 1
) -> Scene:
    """A user's photo and mask, cut to the middle in the window's shape and resized to it.

    Args:
        rule: how to read the mask. frame: which picture of its file the photo is.

    Raises:
        UserError: unreadable, of different sizes, or no hole, or nothing but hole, in the middle.
    """
    photo, hole = read_photo(image, frame), read_mask(mask, rule).hole
    if photo.pixels.shape[:2] != hole.shape:
        raise UserError(
            f"{image} is {photo.pixels.shape[1]}×{photo.pixels.shape[0]} but {mask} is "
            f"{hole.shape[1]}×{hole.shape[0]}; they must be equal"
        )
    small = middle_hole(mask, hole, window)
    return Scene(image.stem, torch.from_numpy(middle(photo.pixels, window)), _mask(small))


def middle_hole(path: Path, hole: Bools, window: Window) -> Bools:
    """The middle of a mask ``[H, W]`` in the shape of a window, resized to it.

    A pixel that covers any part of a hole is hole, so that lines one pixel wide stay.

    Raises:
        UserError: it has no hole, or nothing but hole; ``path`` is named.
    """
    small = touched(_middle(hole, window), window)
    if not small.any() or small.all():
        state = "no hole" if not small.any() else "nothing but hole"
        raise UserError(f"{path} has {state} in its middle square; there is nothing to compare")
    return small


def middle(pixels: Pixels, window: Window, nearest: bool = False) -> npt.NDArray[np.float32]:
    """The middle of a photo in the shape of a window, resized to it, as networks take it.

    Args:
        pixels: ``[H, W, C]`` as :class:`~rethined_export.photo.files.Photo` has them.
        nearest: take the nearest pixel where others are averaged or interpolated.

    Returns:
        RGB ``[1, 3, height, width]`` in [0, 1].
    """
    small = _resized(_to_rgb(pixels), window, nearest)
    values = small.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def free_form_mask(window: Window, cover: float, seed: int) -> Bools:
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
    size = (window.width, window.height)
    large = cv2.resize(canvas, size, interpolation=cv2.INTER_NEAREST)
    return large.astype(bool)


def _pixel(point: npt.NDArray[np.int64]) -> tuple[int, int]:
    return int(point[0]), int(point[1])


def _resized(pixels: Pixels, window: Window, nearest: bool) -> Pixels:
    """The middle at the window's size; shrinking averages, so that texture does not alias."""
    part = _middle(pixels, window)
    method = cv2.INTER_AREA if len(part) > window.height else cv2.INTER_LANCZOS4
    if nearest:
        method = cv2.INTER_NEAREST
    made = cv2.resize(part, (window.width, window.height), interpolation=method)
    return np.asarray(made, pixels.dtype)


def _middle(pixels: npt.NDArray[_T], window: Window) -> npt.NDArray[_T]:
    """The largest middle part of ``[H, W, …]`` that has the window's shape."""
    height, width = pixels.shape[:2]
    tall = min(height, width * window.height // window.width)
    wide = min(width, height * window.width // window.height)
    top, left = (height - tall) // 2, (width - wide) // 2
    return pixels[top : top + tall, left : left + wide]


def _to_rgb(pixels: Pixels) -> Pixels:
    channels = pixels.shape[2]
    return pixels[:, :, :3] if channels >= 3 else np.repeat(pixels[:, :, :1], 3, axis=2)


def _mask(hole: npt.NDArray[np.bool_]) -> Tensor:
    return torch.from_numpy(hole.astype(np.float32)[None, None])
