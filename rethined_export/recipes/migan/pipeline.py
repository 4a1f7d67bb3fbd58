"""MI-GAN's own way around a hole: a crop with a margin, the square network, and its way back.

The steps and constants are those of the ONNX pipeline published with MI-GAN, whose results
:data:`ORIGINAL` gives. Three of its habits are ours by choice only, see :class:`Manner`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]
Pixels = npt.NDArray[np.uint8]

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
        feather: photo and paint are mixed over three pixels inside the hole and one outside, so that
            known pixels beside it change, what it hides shows at its edge, and holes one pixel wide
            stay as they are. Otherwise the hole is the paint's and everything else the photo's.
        truncate: cut off decimals where the photo's bytes are made. Otherwise they are rounded.
    """

    thin_mask: bool = False
    feather: bool = False
    truncate: bool = False


#: Known pixels come back byte for byte.
OURS = Manner()
#: What the published pipeline does.
ORIGINAL = Manner(thin_mask=True, feather=True, truncate=True)


def fill(
    network: Network, photo: Pixels, hole: Bools, side: int, manner: Manner = OURS
) -> Pixels:
    """Fill the hole in a photo of any size.

    Args:
        network: paints squares. :data:`ORIGINAL` mixes in what it paints beside the hole, so results
            equal the published pipeline's only where known pixels are painted too (see
            :func:`native_network`); a composited artifact has the photo's own there.
        photo: RGB ``[H, W, 3]``.
        hole: ``[H, W]``, true in the hole; where nothing is, the photo comes back.
        side: R, of the squares.
    """
    result = photo.copy()
    if not hole.any():
        return result
    window = hole_box(hole, side)
    crop, hidden = photo[window], hole[window]
    mask = _nearest(hidden, side) if manner.thin_mask else _covered(hidden, side)
    image = np.rint(_resize(crop.astype(np.float32), side, side)).astype(np.float32) / 255
    painted = network(
        np.ascontiguousarray(image.transpose(2, 0, 1)[None]), mask[None, None].astype(np.float32)
    )
    height, width = hidden.shape
    paint = np.clip(painted[0].transpose(1, 2, 0) * np.float32(255), 0, 255)
    paint = _resize(np.ascontiguousarray(paint), height, width)
    weight = photo_weight(hidden) if manner.feather else (~hidden).astype(np.float32)
    mixed = crop * weight[..., None] + paint * (1 - weight[..., None])
    mixed = np.trunc(mixed) if manner.truncate else np.rint(mixed)
    result[window] = np.clip(mixed, 0, 255).astype(np.uint8)
    return result


def native_network(run: Callable[[Floats], Floats]) -> Network:
    """The bare generator as a network: all of the square is its paint.

    Args:
        run: from ``[1, 4, R, R]``, known − 0.5 before RGB in [−1, 1] with zeros in the hole, to raw
            RGB ``[1, 3, R, R]``.
    """

    def network(image: Floats, mask: Floats) -> Floats:
        known = 1 - mask
        raw = run(np.concatenate([known - np.float32(0.5), (2 * image - 1) * known], axis=1))
        return np.clip(raw * np.float32(0.5) + np.float32(0.5), 0, 1)

    return network


def hole_box(hole: Bools, side: int) -> tuple[slice, slice]:
    """Rows and columns of the crop around a hole that is not empty.

    As long both ways as the hole's longer extent and two margins, or ``side`` if that is more; what
    a border of the photo cuts off is added at the other end as far as the photo reaches. So the crop
    is square unless the photo is too small. An odd length grows by one pixel at such a border.
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


def photo_weight(hole: Bools) -> Floats:
    """How much of the photo stays at each pixel, ``[H, W]`` in [0, 1].

    The known region, one pixel larger, blurred by 5×5 with reflected borders; σ = √2.
    """
    distance = np.arange(-2, 3, dtype=np.float32)
    taps = np.exp(-((distance / 2) ** 2))
    taps /= taps.sum()
    known = cv2.dilate((~hole).astype(np.float32), np.ones((3, 3), np.uint8))
    blurred = cv2.sepFilter2D(known, cv2.CV_32F, taps, taps, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, np.float32)


def _resize(planes: Floats, height: int, width: int) -> Floats:
    """Bilinear with half-pixel centres and no antialias, ``[H, W]`` or ``[H, W, C]``.

    In torch's own order of operations: where paint is saturated, one rounding decides whether a
    byte is 254 or 255 after truncation.
    """
    for axis, length in ((1, width), (0, height)):
        before, after, share = _neighbours(planes.shape[axis], length)
        share = np.expand_dims(share, tuple(set(range(planes.ndim)) - {axis}))
        planes = np.take(planes, before, axis) * (1 - share) + np.take(planes, after, axis) * share
    return planes


def _neighbours(size: int, length: int) -> tuple[Indices, Indices, Floats]:
    """For each of ``length`` samples the two pixels beside it and the share of the second."""
    places = np.arange(length, dtype=np.float32) + np.float32(0.5)
    places = np.maximum(np.float32(size / length) * places - np.float32(0.5), 0)
    before = np.minimum(places.astype(np.intp), size - 1)
    return before, np.minimum(before + 1, size - 1), places - before.astype(np.float32)


def _nearest(hole: Bools, side: int) -> Bools:
    rows, columns = (
        np.floor(np.arange(side, dtype=np.float32) * np.float32(length / side)).astype(np.intp)
        for length in hole.shape
    )
    return hole[np.ix_(rows, columns)]


def _covered(hole: Bools, side: int) -> Bools:
    values = hole.astype(np.float32)
    covering = cv2.resize(values, (side, side), interpolation=cv2.INTER_AREA)
    return np.maximum(covering, _resize(values, side, side)) > 0
