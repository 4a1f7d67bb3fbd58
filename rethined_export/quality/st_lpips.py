"""ST-LPIPS (alex): how different two images look, whatever shifts by a pixel (Ghildyal and Liu,
"Shift-tolerant Perceptual Similarity Metric", ECCV 2022).

The weights, of an AlexNet trunk and of linear layers over it, trained on human judgements, are
those of the package ``stlpips-pytorch`` (BSD-2); the network is written here. Its figures are its
own and cannot be compared with LPIPS.
"""

import importlib.util
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from rethined_export.errors import UserError

_PACKAGE = "stlpips_pytorch"
#: Convolutions of the trunk: name in the weights, padding.
_TRUNK = (("slice1.0", 2), ("slice2.5", 2), ("slice3.9", 1), ("slice4.11", 1), ("slice5.13", 1))
#: Side of the crop that is compared, in pixels, and the share of hole that it should hold: one pair
#: takes a thread most of a second.
CROP, _COVER = 256, 0.45
#: Keeps a feature of nothing from dividing by zero.
_LEAST = 1e-10


def weights_file() -> Path | None:
    """The weights, if the package that holds them is installed; it is not imported."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    found = sorted(Path(spec.origin).parent.glob("weights/vST0.0/alex*.pth"))
    return found[0] if found else None


@cache
def network(path: Path) -> "ShiftTolerant":
    """The network of a file of weights.

    Raises:
        UserError: the file does not hold it.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return ShiftTolerant(state)
    except (KeyError, RuntimeError, OSError) as error:
        raise UserError(f"{path} does not hold ST-LPIPS (alex): {error}") from error


def distance(network: "ShiftTolerant", filled: Tensor, truth: Tensor, mask: Tensor) -> float:
    """How different a filled image looks from the true one: in a crop, its mean over the hole.

    Args:
        filled, truth: RGB ``[1, 3, S, S]`` in [0, 1]. mask: ``[1, 1, S, S]``, 1 = hole, not empty.
    """
    ours, theirs, hole = (image[hole_crop(mask)] for image in (filled, truth, mask))
    return network.distance(ours, network.features(theirs), hole)


def hole_crop(mask: Tensor) -> tuple[slice, ...]:
    """The square of 256 px, on a grid of half its side, with nearest to 45 % of hole."""
    side = min(CROP, *mask.shape[2:])
    cover = F.avg_pool2d(mask, side, stride=max(1, side // 2))[0, 0]
    # An empty crop has nothing to average over: it is taken only if all are.
    wrong = (cover - _COVER).abs() + (cover == 0)
    row, column = divmod(int(wrong.argmin()), wrong.shape[1])
    top, left = row * (side // 2), column * (side // 2)
    return slice(None), slice(None), slice(top, top + side), slice(left, left + side)


class _Layer(NamedTuple):
    """A convolution of the trunk, and how much each of its channels counts."""

    kernel: Tensor
    bias: Tensor
    padding: int
    counts: Tensor


class ShiftTolerant:
    """AlexNet whose strides are blurred, compared channel by channel.

    Args:
        state: weights by name, as the package has them.
    """

    def __init__(self, state: dict[str, Tensor]) -> None:
        self._shift, self._scale = state["scaling_layer.shift"], state["scaling_layer.scale"]
        self._blur = state["net.slice1.1.filt"][:1]
        self._layers = [
            _Layer(
                state[f"net.{name}.weight"],
                state[f"net.{name}.bias"],
                padding,
                state[f"lin{number}.model.1.weight"],
            )
            for number, (name, padding) in enumerate(_TRUNK)
        ]

    @torch.no_grad()
    def features(self, image: Tensor) -> list[Tensor]:
        """``[1, 3, H, W]`` in [0, 1], 64 pixels or more a side → five maps of unit vectors."""
        x = (2 * image - 1 - self._shift) / self._scale
        found = []
        for number, layer in enumerate(self._layers):
            if number in (1, 2):
                x = self._halved(F.max_pool2d(x, 3, 1))
            x = F.conv2d(x, layer.kernel, layer.bias, padding=layer.padding)
            x = F.relu(self._halved(x) if number == 0 else x)
            found.append(x / (x.square().sum(1, keepdim=True).sqrt() + _LEAST))
        return found

    @torch.no_grad()
    def distance(self, image: Tensor, wanted: list[Tensor], mask: Tensor) -> float:
        """How different an image looks, the mean over a hole.

        Args:
            image: ``[1, 3, H, W]`` in [0, 1]. wanted: features of the true one.
            mask: ``[1, 1, H, W]``, 1 = hole, not empty.
        """
        total = torch.zeros_like(mask)
        for layer, ours, theirs in zip(self._layers, self.features(image), wanted, strict=True):
            apart = F.conv2d((ours - theirs).square(), layer.counts)
            total += F.interpolate(apart, size=mask.shape[2:], mode="bilinear", align_corners=False)
        return float((total * mask).sum() / mask.sum())

    def _halved(self, x: Tensor) -> Tensor:
        """Blurred by 3×3, every second pixel of a border two wider: a shift stays a shift."""
        channels = x.shape[1]
        padded = F.pad(x, [2] * 4, mode="reflect")
        return F.conv2d(padded, self._blur.expand(channels, 1, 3, 3), stride=2, groups=channels)
