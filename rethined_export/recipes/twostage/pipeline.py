"""Ways around the hole of a whole photo: the authors' program on 8-bit images, and ours on floats.

Both see the photo at its own size, with black pixels, which count as known, below and to the right
up to multiples of 256.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rethined_export.errors import UserError
from rethined_export.models.dfnet import STRIDE
from rethined_export.models.twostage import coarse_input, coarse_result, refine_input
from rethined_export.photo.window import Window
from rethined_export.recipes.twostage.caller import run
from rethined_export.recipes.types import Bools, Pixels, Running

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
#: Native input ``[1, C, H, W]`` → output ``[1, 3, H, W]``.
Network = Callable[[Floats], Floats]


def fill_padded(made: Running, photo: Pixels, hole: Bools) -> Pixels:
    """Ours: on floats, known pixels as they were.

    Raises:
        UserError: the artifact takes another size.
    """
    _check_window(made, hole)
    most = _most(photo)
    image = _padded(photo).astype(np.float32) / np.float32(most)
    mask = _padded(hole).astype(np.float32)
    filled = made.runner(image=image.transpose(2, 0, 1)[None], mask=mask[None, None])["output"]
    pixels = filled[0].transpose(1, 2, 0)[: hole.shape[0], : hole.shape[1]] * most
    pixels = np.clip(np.rint(pixels) if photo.dtype.kind == "u" else pixels, 0, most)
    return np.where(hole[..., None], pixels.astype(photo.dtype), photo)


def fill_original(made: Running, photo: Pixels, hole: Bools) -> Pixels:
    """The authors': on 8 bits, truncated after each network; the known pixels too.

    Raises:
        UserError: the artifact is no pair, or takes another size.
    """
    if "refine" not in made.programs:
        raise UserError(
            "two-stage-original works on 8 bits between the networks, which one program does not; "
            "export a pair with --io native"
        )
    _check_window(made, hole)
    most = _most(photo)
    levels = np.rint(photo.astype(np.float64) * (255 / most)).astype(np.uint8)
    coarse, refine = ((lambda x, n=made.programs[part]: run(n, x)) for part in ("coarse", "refine"))
    filled = original(coarse, refine, levels, hole.astype(np.uint8) * np.uint8(255))
    return (filled.astype(np.float64) * (most / 255)).astype(photo.dtype)


def original(coarse: Network, refine: Network, photo: Bytes, mask: Bytes) -> Bytes:
    """The authors' program, step by step.

    Args:
        coarse, refine: the networks by their native inputs.
        photo: RGB ``[H, W, 3]``. mask: ``[H, W]``, 255 = hole, 0 = known.
    """
    image, hole = _padded(photo), _padded(mask)[..., None]
    x = coarse_input(_planes(image), _planes(hole))
    painted = torch.from_numpy(coarse(x.numpy()))
    low = _levels(coarse_result(x, painted, *image.shape[:2]).numpy())
    size = (image.shape[1], image.shape[0])
    large = np.asarray(cv2.resize(low, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    whole = hole // 255
    stacked = refine_input(_planes(image * (1 - whole) + large * whole), _planes(hole))
    return _levels(refine(stacked.numpy()))[: photo.shape[0], : photo.shape[1]]


def _planes(levels: Bytes) -> Tensor:
    """``[H, W, C]`` → ``[1, C, H, W]`` in [0, 1]."""
    return torch.from_numpy(levels.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255))


def _levels(planes: Floats) -> Bytes:
    """``[1, C, H, W]`` in [0, 1] → ``[H, W, C]``, truncated."""
    return np.ascontiguousarray((planes[0].transpose(1, 2, 0) * np.float32(255)).astype(np.uint8))


def _check_window(made: Running, hole: Bools) -> None:
    height, width = _padded(hole).shape
    window = made.options.window
    if window != Window(height, width):
        raise UserError(
            f"a photo of {hole.shape[1]}×{hole.shape[0]} needs an artifact made with "
            f"--size {width}x{height}; this one takes {window.width}x{window.height}"
        )


def _padded(pixels: Pixels) -> Pixels:
    """Zeros below and to the right, up to multiples of 256."""
    edges = [(0, -side % STRIDE) for side in pixels.shape[:2]]
    return np.pad(pixels, [*edges, *[(0, 0)] * (pixels.ndim - 2)])


def _most(photo: Pixels) -> int:
    return int(np.iinfo(photo.dtype).max) if photo.dtype.kind == "u" else 1
