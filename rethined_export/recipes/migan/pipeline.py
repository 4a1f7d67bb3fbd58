"""MI-GAN's own way around a hole: a crop with a margin, the square network, and its way back.

The steps and constants are those of the ONNX pipeline published with MI-GAN, whose results
:data:`ORIGINAL` gives byte for byte. Three of its habits are not ours, see :class:`Manner`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Pixels = npt.NDArray[Any]

#: image ``[1, 3, R, R]`` in [0, 1] and mask ``[1, 1, R, R]`` (1 = hole) → painted, like image
Network = Callable[[Floats, Floats], Floats]

#: Pixels of context on each side of the hole.
MARGIN = 128


@dataclass(frozen=True)
class Manner:
    """How a hole is shown to the network, and how what it painted is set into the photo.

    Attributes:
        thin_mask: a pixel of the network's mask is hole where the one photo pixel that it stands
            for is. Thin holes can slip through, and the image beside others shows what they hide.
            Otherwise each pixel is hole that covers or mixes in any of it.
        feather: photo and paint are mixed over three pixels inside the hole and one outside, so
            that known pixels beside it change, what it hides shows at its edge, and holes one pixel
            wide stay as they are. Otherwise the hole is the paint's and the rest the photo's.
        truncate: cut off decimals where the photo's numbers are made. Otherwise they are rounded.
    """

    thin_mask: bool = False
    feather: bool = False
    truncate: bool = False


#: Known pixels come back byte for byte, and nothing that the hole hides is seen again.
OURS = Manner()
#: What the published pipeline does.
ORIGINAL = Manner(thin_mask=True, feather=True, truncate=True)


def fill(network: Network, photo: Pixels, hole: Bools, side: int, manner: Manner = OURS) -> Pixels:
    """Fill the hole in a photo of any size.

    Args:
        network: paints squares. :data:`ORIGINAL` mixes in what it paints beside the hole, so its
            results are the published pipeline's only where known pixels are painted too (see
            :func:`native_network`); a composited artifact has the photo's own there.
        photo: RGB ``[H, W, 3]``, unsigned integers of their full range or floats in [0, 1]. The
            network sees it rounded to 8 bits.
        hole: ``[H, W]``, true in the hole; where nothing is, the photo comes back.
        side: R, of the squares.
    """
    result = photo.copy()
    if not hole.any():
        return result
    window = hole_box(hole, side)
    full = float(np.iinfo(photo.dtype).max) if photo.dtype.kind == "u" else 1.0
    crop = torch.from_numpy(photo[window].astype(np.float32)).permute(2, 0, 1)[None]
    hidden = torch.from_numpy(hole[window].astype(np.float32))[None, None]
    image = torch.round(_resize(crop * (255 / full), (side, side))) / 255
    painted = torch.from_numpy(network(image.numpy(), _mask(hidden, side, manner).numpy()))
    paint = _resize(torch.clamp(painted * full, 0, full), hidden.shape[2:])
    weight = photo_weight(hidden) if manner.feather else 1 - hidden
    mixed = torch.clamp(crop * weight + paint * (1 - weight), 0, full)
    if photo.dtype.kind == "u":
        mixed = torch.trunc(mixed) if manner.truncate else torch.round(mixed)
    result[window] = mixed[0].permute(1, 2, 0).numpy()
    return result


def native_network(run: Callable[[Floats], Floats]) -> Network:
    """The bare generator as a network: all of the square is its paint.

    Args:
        run: from the native input ``[1, 4, R, R]`` to raw RGB ``[1, 3, R, R]``, as of ``MiGan``.
    """

    def network(image: Floats, mask: Floats) -> Floats:
        raw = run(packed(image, mask))
        return np.clip(raw * np.float32(0.5) + np.float32(0.5), 0, 1)

    return network


def packed(image: Floats, mask: Floats) -> Floats:
    """The generator's native input, as ``native_input`` makes it of tensors."""
    known = 1 - mask
    return np.concatenate([known - np.float32(0.5), (2 * image - 1) * known], axis=1)


def hole_box(hole: Bools, side: int) -> tuple[slice, slice]:
    """Rows and columns of the crop around a hole that is not empty.

    As long both ways as the hole's longer extent and two margins, or ``side`` if that is more; what
    a border of the photo cuts off is added at the other end, as far as the photo reaches. So the
    crop is square unless the photo is too small. Where nothing is cut off, an odd length grows by
    one pixel.
    """
    rows, columns = (np.flatnonzero(hole.any(axis=axis)) for axis in (1, 0))
    extents = [(int(found[0]), int(found[-1])) for found in (rows, columns)]
    length = max(max(last - first for first, last in extents) + 2 * MARGIN, side)
    top_bottom, left_right = (
        _span(first, last, length, limit)
        for (first, last), limit in zip(extents, hole.shape, strict=True)
    )
    return top_bottom, left_right


def _span(first: int, last: int, length: int, limit: int) -> slice:
    centre, half = (first + last) // 2, length // 2
    start, end = max(centre - half, 0), min(centre + half, limit)
    missing = max(length - (end - start), 0)
    return slice(max(start - missing, 0), min(end + missing, limit))


def photo_weight(hole: Tensor) -> Tensor:
    """How much of the photo stays at each pixel, in [0, 1].

    The known region, one pixel larger, blurred by 5×5 with reflected borders; σ = √2.

    Args:
        hole: ``[1, 1, H, W]``, 1 = hole; 3 pixels or more both ways.
    """
    line = torch.exp(-((torch.arange(-2.0, 3.0) / 2) ** 2))
    taps = torch.outer(line, line) / line.sum() ** 2
    known = F.max_pool2d(255 * (1 - hole), 3, stride=1, padding=1)
    return F.conv2d(F.pad(known, [2] * 4, mode="reflect"), taps[None, None]) / 255


def _mask(hole: Tensor, side: int, manner: Manner) -> Tensor:
    """The hole as the network sees it, ``[1, 1, R, R]``."""
    if manner.thin_mask:
        return F.interpolate(hole, (side, side), mode="nearest")
    covering = F.adaptive_max_pool2d(hole, (side, side))
    return (torch.maximum(covering, _resize(hole, (side, side))) > 0).float()


def _resize(planes: Tensor, size: tuple[int, ...]) -> Tensor:
    """Bilinear with half-pixel centres and no antialias; ``[1, C, H, W]``."""
    if planes.shape[2:] == size:
        return planes
    return F.interpolate(planes, size, mode="bilinear", align_corners=False)
