"""How different pictures look: FLIP, and metrics whose weights cannot be fetched everywhere."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import flip_evaluator
import numpy as np
import torch
from torch import Tensor

from rethined_export.models.rethined.training.perception import read_perception, weights_file
from rethined_export.models.rethined.training.settings import TrainingError
from rethined_export.quality import st_lpips

#: File in torch's cache, and the command that puts it there.
_NEEDS = {
    "lpips": (
        "alexnet-owt-7be5be79.pth",
        "python -c \"import torchvision; torchvision.models.alexnet(weights='DEFAULT')\"",
    ),
    "fid": (
        "weights-inception-2015-12-05-6726825d.pth",
        "python -c 'from torchmetrics.image.fid import FrechetInceptionDistance as F; F()'",
    ),
}
#: The network of a file of weights: building it takes a second.
_classifier = cache(read_perception)
#: FID's mean and covariance mean little over fewer images.
_FEWEST_FOR_FID = 50


@dataclass(frozen=True)
class Computed:
    """A figure, or why there is none.

    Attributes:
        each: photo by photo, where it has a value for each; ``value`` is their mean.
    """

    value: float | None
    reason: str = ""
    each: tuple[float, ...] = ()


def perceptual(
    filled: list[Tensor], truth: list[Tensor], masks: list[Tensor]
) -> dict[str, Computed]:
    """What is known of each, or why it is not.

    ``flip`` and ``st_lpips`` are means over holes; ``features``, of EfficientNet-Lite0, is a
    distance per share of hole, like ``st_lpips`` in one crop; ``lpips`` (AlexNet) is of whole
    pictures, and ``fid`` of all of them together.

    Args:
        filled, truth: RGB ``[1, 3, S, S]`` in [0, 1]. masks: ``[1, 1, S, S]``, 1 = hole.
    """
    lpips = _missing("lpips")
    fid = _missing("fid")
    if not fid and len(filled) < _FEWEST_FOR_FID:
        fid = f"FID over {len(filled)} images says nothing; give {_FEWEST_FOR_FID} or more"
    return {
        "st_lpips": _shift_tolerant(filled, truth, masks),
        "flip": _of_each(_flip, filled, truth, masks),
        "features": _features(filled, truth, masks),
        "lpips": Computed(None, lpips) if lpips else Computed(_lpips(filled, truth)),
        "fid": Computed(None, fid) if fid else Computed(_fid(filled, truth)),
    }


def _of_each(
    distance: Callable[[Tensor, Tensor, Tensor], float],
    filled: list[Tensor],
    truth: list[Tensor],
    masks: list[Tensor],
) -> Computed:
    with torch.no_grad():
        each = tuple(distance(*one) for one in zip(filled, truth, masks, strict=True))
    return Computed(sum(each) / len(each), each=each)


def _shift_tolerant(filled: list[Tensor], truth: list[Tensor], masks: list[Tensor]) -> Computed:
    path = st_lpips.weights_file()
    if path is None:
        return Computed(None, "its weights are missing; pip install --no-deps stlpips-pytorch")
    network = st_lpips.network(path)
    return _of_each(partial(st_lpips.distance, network), filled, truth, masks)


def _flip(filled: Tensor, truth: Tensor, mask: Tensor) -> float:
    """ꟻLIP (Andersson et al., HPG 2020) at 67 pixels a degree, its mean over the hole."""
    ours, theirs = (
        np.ascontiguousarray(image[0].permute(1, 2, 0).numpy()) for image in (filled, truth)
    )
    differences, _, _ = flip_evaluator.evaluate(theirs, ours, "LDR", applyMagma=False)
    return float(differences[..., 0][mask[0, 0].numpy() > 0].mean())


def _features(filled: list[Tensor], truth: list[Tensor], masks: list[Tensor]) -> Computed:
    try:
        network = _classifier(weights_file())
    except TrainingError as error:
        return Computed(None, str(error))

    def distance(ours: Tensor, theirs: Tensor, mask: Tensor) -> float:
        crop = st_lpips.hole_crop(mask)
        return float(network.difference(ours[crop], theirs[crop], mask[crop]))

    return _of_each(distance, filled, truth, masks)


def _missing(metric: str) -> str:
    """Why a metric cannot be computed here; empty if it can."""
    modules = ("torchvision",) if metric == "lpips" else ("torchvision", "torch_fidelity")
    for module in modules:
        try:
            __import__(module)
        except Exception as error:  # torchvision of another torch fails in ways of its own
            return f"{module} cannot be used ({error}); pip install 'rethined-export[perceptual]'"
    file, command = _NEEDS[metric]
    cache = Path(torch.hub.get_dir()) / "checkpoints" / file
    if not cache.exists():
        return f"{cache} is missing; {command} fetches it, or copy it there"
    return ""


def _lpips(filled: list[Tensor], truth: list[Tensor]) -> float:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    metric = LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)
    with torch.no_grad():
        for ours, theirs in zip(filled, truth, strict=True):
            metric.update(ours, theirs)
    return float(metric.compute())


def _fid(filled: list[Tensor], truth: list[Tensor]) -> float:
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(normalize=True)
    with torch.no_grad():
        for ours, theirs in zip(filled, truth, strict=True):
            metric.update(ours, real=False)
            metric.update(theirs, real=True)
    return float(metric.compute())
