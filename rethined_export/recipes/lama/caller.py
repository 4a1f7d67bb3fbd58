"""What lies around LaMa's network: the caller of its native program, and its authors' way."""

from __future__ import annotations

import numpy as np

from rethined_export.converters.types import Array, Runner
from rethined_export.errors import UserError
from rethined_export.models.lama.config import STRIDE
from rethined_export.photo.window import Window
from rethined_export.recipes.types import Bools, Pixels, Running


class NativeRunner:
    """The network's own program as a function from image and mask to image."""

    takes = frozenset({"image", "mask"})

    def __init__(self, network: Runner) -> None:
        self._network, self.name = network, network.name

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        image, mask = (np.asarray(inputs[name], np.float32) for name in ("image", "mask"))
        known = image * (1 - mask)
        painted = self._network(input=np.concatenate([known, mask], axis=1))["output"]
        return {"output": known + np.asarray(painted, np.float32) * mask}


def fill_padded(made: Running, photo: Pixels, hole: Bools) -> Pixels:
    """The authors' way: mirrored below and to the right up to multiples of 8, then truncated.

    Raises:
        UserError: the artifact takes another size.
    """
    height, width = hole.shape
    below, right = -height % STRIDE, -width % STRIDE
    wanted, window = Window(height + below, width + right), made.options.window
    if window != wanted:
        raise UserError(
            f"a photo of {width}×{height} needs an artifact made with "
            f"--size {wanted.width}x{wanted.height}; this one takes {window.width}x{window.height}"
        )
    most = np.iinfo(photo.dtype).max if photo.dtype.kind == "u" else 1
    edges = ((0, below), (0, right))
    image = np.pad(photo.astype(np.float32) / most, (*edges, (0, 0)), mode="symmetric")
    mask = np.pad(hole, edges, mode="symmetric").astype(np.float32)
    filled = made.runner(image=image.transpose(2, 0, 1)[None], mask=mask[None, None])["output"]
    pixels = (filled[0].transpose(1, 2, 0)[:height, :width] * most).clip(0, most)
    return np.where(hole[..., None], pixels.astype(photo.dtype), photo)
