"""Figures of one filled photo against the true one."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from rethined_export.models.rethined.config import LOW_RESOLUTION
from rethined_export.models.rethined.filters import high_frequencies

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

#: Hole pixels this near to a known one are the hole's border, in pixels at 512.
_BORDER = 4


@dataclass(frozen=True)
class Figures:
    """Quality of one filled photo.

    Attributes:
        psnr, psnr_hole: dB, over the image and over the hole.
        ssim, ssim_hole: mean of the SSIM map, window σ = 1.5.
        l1, l1_hole: mean absolute difference of values in [0, 1].
        bpe: boundary pixel error: L1 over hole pixels near the hole's border.
        texture: deviation of the high frequencies in the hole over that of the true ones.
    """

    psnr: float
    psnr_hole: float
    ssim: float
    ssim_hole: float
    l1: float
    l1_hole: float
    bpe: float
    texture: float


NAMES = tuple(field.name for field in fields(Figures))
#: Which way is better, for tables: the others are better when lower; texture is best at 1.
HIGHER_IS_BETTER = frozenset({"psnr", "psnr_hole", "ssim", "ssim_hole"})


def measure(filled: Tensor, truth: Tensor, mask: Tensor) -> Figures:
    """Compare.

    Args:
        filled, truth: RGB ``[1, 3, S, S]`` in [0, 1]. mask: ``[1, 1, S, S]``, 1 = hole, not empty.
    """
    difference = (filled - truth).abs()
    hole = mask.bool().expand_as(truth)
    similarity, image = structural_similarity_index_measure(
        filled, truth, data_range=1.0, return_full_image=True
    )
    near = torch.from_numpy(border(mask[0, 0].numpy() > 0)).expand_as(truth)
    ours, theirs = (high_frequencies(x)[hole].std() for x in (filled, truth))
    return Figures(
        psnr=_psnr(difference),
        psnr_hole=_psnr(difference[hole]),
        ssim=float(similarity),
        ssim_hole=float(image[hole].mean()),
        l1=float(difference.mean()),
        l1_hole=float(difference[hole].mean()),
        bpe=float(difference[near].mean()),
        texture=float(ours / theirs.clamp(min=1e-6)),
    )


def mean(figures: Sequence[Figures]) -> Figures:
    """Each figure averaged over photos."""
    return Figures(*np.mean([astuple(one) for one in figures], axis=0).tolist())


def border(hole: Bools) -> Bools:
    """Hole pixels next to known ones, ``[S, S]``: a band of 4 pixels at 512, wider at more."""
    distance = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 5)
    width = max(1.0, _BORDER * len(hole) / LOW_RESOLUTION)
    return np.asarray(hole & (distance <= width), np.bool_)


def _psnr(difference: Tensor) -> float:
    """In dB; of equal images 100."""
    return float(-10 * torch.log10(difference.square().mean().clamp(min=1e-10)))
