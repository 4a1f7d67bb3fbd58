"""LPIPS, ST-LPIPS and FID: metrics that need weights, which cannot be fetched everywhere."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

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
#: FID's mean and covariance mean little over fewer images.
_FEWEST_FOR_FID = 50


@dataclass(frozen=True)
class Computed:
    """A figure, or why there is none."""

    value: float | None
    reason: str = ""


def perceptual(
    filled: list[Tensor], truth: list[Tensor], masks: list[Tensor]
) -> dict[str, Computed]:
    """LPIPS (AlexNet), the mean over images; FID over all; ST-LPIPS (alex), the mean over holes.

    Args:
        filled, truth: RGB ``[1, 3, S, S]`` in [0, 1]. masks: ``[1, 1, S, S]``, 1 = hole.
    """
    lpips = _missing("lpips")
    fid = _missing("fid")
    if not fid and len(filled) < _FEWEST_FOR_FID:
        fid = f"FID over {len(filled)} images says nothing; give {_FEWEST_FOR_FID} or more"
    return {
        "lpips": Computed(None, lpips) if lpips else Computed(_lpips(filled, truth)),
        "fid": Computed(None, fid) if fid else Computed(_fid(filled, truth)),
        "st_lpips": _shift_tolerant(filled, truth, masks),
    }


def _shift_tolerant(filled: list[Tensor], truth: list[Tensor], masks: list[Tensor]) -> Computed:
    path = st_lpips.weights_file()
    if path is None:
        return Computed(None, "its weights are missing; pip install --no-deps stlpips-pytorch")
    return Computed(st_lpips.mean_distance(st_lpips.network(path), filled, truth, masks))


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
