"""The copying network's coarse model: a U-Net of residual depthwise-separable blocks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined.copying.config import CopyConfig
from rethined_export.models.rethined.mobileone import Foldable, centred, fold_norm


class ResidualBlock(Foldable):
    """``relu(pointwise(relu(depthwise(x))) + shortcut(x))``, each part batch-normed.

    The depthwise part is a 3×3 and a 1×1 branch and, at stride 1, an identity. Re-parameterised it
    is one convolution, as is each other part.
    """

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            channels, channels, 3, stride, padding=1, groups=channels, bias=False
        )
        self.depthwise_bn = nn.BatchNorm2d(channels)
        self.depthwise_scale = nn.Conv2d(channels, channels, 1, stride, groups=channels, bias=False)
        self.depthwise_scale_bn = nn.BatchNorm2d(channels)
        self.depthwise_identity_bn = nn.BatchNorm2d(channels) if stride == 1 else None
        self.pointwise = nn.Conv2d(channels, out, 1, bias=False)
        self.pointwise_bn = nn.BatchNorm2d(out)
        self.proj: nn.Module | None = None
        if stride > 1 or channels != out:
            self.proj = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )
        self.deployed = False

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.proj is None else self.proj(x)
        if self.deployed:
            return torch.relu(self.pointwise(torch.relu(self.depthwise(x))) + shortcut)
        total = self.depthwise_bn(self.depthwise(x))
        total = total + self.depthwise_scale_bn(self.depthwise_scale(x))
        if self.depthwise_identity_bn is not None:
            total = total + self.depthwise_identity_bn(x)
        return torch.relu(self.pointwise_bn(self.pointwise(torch.relu(total))) + shortcut)

    def reparameterise(self) -> None:
        """Fold every norm and branch into its convolution, in place (float64)."""
        if self.deployed:
            return
        parts = [
            fold_norm(self.depthwise.weight, self.depthwise_bn),
            fold_norm(centred(self.depthwise_scale.weight, 3), self.depthwise_scale_bn),
        ]
        if self.depthwise_identity_bn is not None:
            identity = centred(torch.ones_like(self.depthwise_scale.weight), 3)
            parts.append(fold_norm(identity, self.depthwise_identity_bn))
        kernels, biases = zip(*parts, strict=True)
        _give(self.depthwise, torch.stack(kernels).sum(0), torch.stack(biases).sum(0))
        _give(self.pointwise, *fold_norm(self.pointwise.weight, self.pointwise_bn))
        if isinstance(self.proj, nn.Sequential):
            convolution, norm = self.proj
            assert isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
            _give(convolution, *fold_norm(convolution.weight, norm))
            self.proj = convolution
        self.deployed = True
        for name in ("depthwise_scale", "depthwise_scale_bn", "depthwise_bn", "pointwise_bn"):
            delattr(self, name)
        self.depthwise_identity_bn = None


def _give(convolution: nn.Conv2d, kernel: Tensor, bias: Tensor) -> None:
    kind = convolution.weight.dtype
    convolution.weight.data = kernel.to(kind)
    convolution.bias = nn.Parameter(bias.to(kind), requires_grad=False)


class _Stage(nn.Module):
    """Half the resolution, then a block at that."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.down = ResidualBlock(channels, out, stride=2)
        self.refine = ResidualBlock(out, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.refine(self.down(x))


class _Up(nn.Module):
    """Twice the resolution, joined with the encoder's features there."""

    def __init__(self, channels: int, skip: int) -> None:
        super().__init__()
        self.block1 = ResidualBlock(channels + skip, skip)
        self.block2 = ResidualBlock(skip, skip)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.block2(self.block1(torch.cat([_twice(x), skip], dim=1)))


class CopyCoarse(nn.Module):
    """Masked low-resolution image in, raw coarse image and encoder features out."""

    def __init__(self, config: CopyConfig) -> None:
        super().__init__()
        channels = 3
        for stage, width in enumerate(config.widths):
            setattr(self, f"stage{stage}", _Stage(channels, width))
            channels = width
        for level in (4, 3, 2, 1):
            skip = config.widths[level - 1]
            setattr(self, f"up{level}", _Up(config.widths[level], skip))
        self.head_block = ResidualBlock(config.widths[0] + 3, config.head)
        self.out_conv = nn.Conv2d(config.head, 3, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``[1, 3, H, H]``, zero in the hole → the image in [0, 1], and the five features."""
        features, out = [], x
        for stage in range(5):
            out = getattr(self, f"stage{stage}")(out)
            features.append(out)
        for level in (4, 3, 2, 1):
            out = getattr(self, f"up{level}")(out, features[level - 1])
        out = self.head_block(torch.cat([_twice(out), x], dim=1))
        return torch.sigmoid(self.out_conv(out)), features


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
