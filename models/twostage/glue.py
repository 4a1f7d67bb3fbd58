"""What lies around the two networks: the letterbox, the enlargement, the shifted copies.

The original does all of it on 8-bit images; here it is done on floats, which lies within one grey
level of that.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from rethined_export.models.twostage.config import LOW, SHIFT, SHIFT_ROWS

#: What a shifted image has where nothing was moved to: 1 of 255. Its mask is 1, hole, there.
EMPTIED = 1 / 255


@dataclass(frozen=True)
class Letterbox:
    """Where an image lies in stage one's square; the rest of that is black and known.

    Attributes:
        height, width: of the image there, one of them 512. top, left: where it begins.
        rows, columns: of the image, that each of its rows and columns there is taken from.
    """

    height: int
    width: int
    top: int
    left: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @classmethod
    def of(cls, height: int, width: int) -> Self:
        """For an image of a size."""
        longer = max(height, width)
        small = (height * LOW // longer, width * LOW // longer)
        top, left = ((LOW - side) // 2 for side in small)
        return cls(*small, top, left, _nearest(height, small[0]), _nearest(width, small[1]))

    @property
    def edges(self) -> tuple[int, int, int, int]:
        """Pixels to pad to the square: left, right, above, below."""
        right, below = LOW - self.left - self.width, LOW - self.top - self.height
        return self.left, right, self.top, below

    def crop(self, square: Tensor) -> Tensor:
        """The image's part of ``[N, C, 512, 512]``."""
        if self.height < LOW:
            square = square[:, :, self.top : self.top + self.height]
        if self.width < LOW:
            square = square[:, :, :, self.left : self.left + self.width]
        return square


def _nearest(given: int, wanted: int) -> tuple[int, ...]:
    """Indices of nearest neighbours, rounded down, in double precision as OpenCV has it."""
    step = 1 / (wanted / given)
    return tuple(min(int(place * step), given - 1) for place in range(wanted))


def coarse_input(image: Tensor, mask: Tensor) -> Tensor:
    """Image and mask in the square, as DFNet takes them.

    Args:
        image: RGB ``[N, 3, H, W]`` in [0, 1]. mask: ``[N, 1, H, W]``, 1 = hole, 0 = known.

    Returns:
        ``[N, 4, 512, 512]``: BGR with 0 in the hole, and 1 = known.
    """
    box = Letterbox.of(image.shape[2], image.shape[3])
    whole = torch.cat([image.flip(1) * (1 - mask), mask], dim=1)
    rows, columns = (torch.tensor(places) for places in (box.rows, box.columns))
    square = F.pad(whole[:, :, rows][:, :, :, columns], box.edges)
    return torch.cat([square[:, :3], 1 - square[:, 3:]], dim=1)


def coarse_result(x: Tensor, painted: Tensor, height: int, width: int) -> Tensor:
    """Stage one's result, RGB ``[N, 3, h, w]`` in [0, 1], the longer side 512.

    Args:
        x: as of :func:`coarse_input`. painted: what DFNet made of it, BGR ``[N, 3, 512, 512]``.
        height, width: of the image.
    """
    low = x[:, :3] + painted * (1 - x[:, 3:])
    return Letterbox.of(height, width).crop(low).flip(1)


def enlarged(low: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """The image, its hole filled with stage one's result, bilinear.

    Args:
        low: as of :func:`coarse_result`. image, mask: as of :func:`coarse_input`.
    """
    size = image.shape[2:]
    large = F.interpolate(low, size, mode="bilinear", align_corners=False)
    return image * (1 - mask) + large * mask


def refine_input(filled: Tensor, mask: Tensor) -> Tensor:
    """What stage two takes: ``[N, 20, H, W]``.

    The mask, the filled image, and copies of it moved up, down, right and left, each followed by
    its mask, moved alike: what the hole holds is stage one's guess there too.

    Args:
        filled: RGB ``[N, 3, H, W]`` in [0, 1], stage one's result in the hole.
        mask: ``[N, 1, H, W]``, 1 = hole, 0 = known.
    """
    by = shift_of(filled.shape[2])
    images, masks = _moved(filled, by, EMPTIED), _moved(mask, by, 1.0)
    copies = [tensor for pair in zip(images, masks, strict=True) for tensor in pair]
    return torch.cat([mask, filled, *copies], dim=1)


def shift_of(height: int) -> int:
    """Pixels that copies are moved by, also to the sides; the height is a multiple of 256."""
    return height * SHIFT // SHIFT_ROWS


def _moved(x: Tensor, by: int, emptied: float) -> Iterator[Tensor]:
    """Moved up, down, right and left."""
    height, width = x.shape[2:]
    across = min(by, width)
    yield F.pad(x[:, :, by:], (0, 0, 0, by), value=emptied)
    yield F.pad(x[:, :, : height - by], (0, 0, by, 0), value=emptied)
    if across == width:
        # Nothing is left of it: a narrow image, and the shift follows from the height.
        yield from [torch.full_like(x, emptied)] * 2
        return
    yield F.pad(x[:, :, :, : width - across], (across, 0), value=emptied)
    yield F.pad(x[:, :, :, across:], (0, across), value=emptied)
