"""MobileOne (Vasu et al., CVPR 2023): many branches while training, one convolution when deployed.

Parameter names follow the reference release, so published weights load unchanged.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from rethined_export.models.rethined.config import RethinedConfig


class SqueezeExcite(nn.Module):
    """Channel gates from the image's mean: ``x · σ(W₂ relu(W₁ mean(x)))``, ratio 1/16."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = channels // 16
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.expand(torch.relu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class ConvNorm(nn.Module):
    """A convolution without bias, and batch norm."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class Foldable(nn.Module, ABC):
    """A block that trains as several layers and deploys as fewer, with the same result."""

    @abstractmethod
    def reparameterise(self) -> None:
        """Fold the layers, in place."""


class MobileOneBlock(Foldable):
    """``relu(se(Σ branches))``: k×k branches, a 1×1 branch and an identity, each batch-normed.

    A re-parameterised block (``deployed``) holds the same function as one convolution with bias.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        branches: int = 1,
        squeeze_excite: bool = False,
        deployed: bool = False,
    ) -> None:
        super().__init__()
        self.deployed = deployed
        self.se = SqueezeExcite(out) if squeeze_excite else nn.Identity()
        if deployed:
            self.reparam_conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups)
            return
        self.rbr_skip = nn.BatchNorm2d(channels) if channels == out and stride == 1 else None
        self.rbr_conv = nn.ModuleList(
            ConvNorm(channels, out, kernel, stride, groups) for _ in range(branches)
        )
        self.rbr_scale = ConvNorm(channels, out, 1, stride, groups) if kernel > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        if self.deployed:
            total = self.reparam_conv(x)
        else:
            total = sum(branch(x) for branch in self.branches())
            if self.rbr_scale is not None:
                total = total + self.rbr_scale(x)
            if self.rbr_skip is not None:
                total = total + self.rbr_skip(x)
        return torch.relu(self.se(total))

    def branches(self) -> list[ConvNorm]:
        """The k×k branches of a block that is not re-parameterised."""
        return [branch for branch in self.rbr_conv if isinstance(branch, ConvNorm)]

    def reparameterise(self) -> None:
        """Fold every branch into one convolution, in place (float64, exact to rounding)."""
        if self.deployed:
            return
        template = self.branches()[0].conv
        kernel, bias = _fused_kernel(self, template)
        with torch.random.fork_rng(devices=[]):  # the layer's own start-up draws random numbers
            conv = nn.Conv2d(
                template.in_channels,
                template.out_channels,
                template.kernel_size[0],
                template.stride[0],
                template.kernel_size[0] // 2,
                groups=template.groups,
            )
        conv.weight.data = kernel.to(template.weight.dtype)
        conv.bias = nn.Parameter(bias.to(template.weight.dtype))
        self.reparam_conv = conv.requires_grad_(False)
        self.deployed = True
        for name in ("rbr_skip", "rbr_conv", "rbr_scale"):
            delattr(self, name)


def _fused_kernel(block: MobileOneBlock, template: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Sum of the branches' kernels and biases once batch norm is folded in, in float64."""
    side = template.kernel_size[0]
    parts = [fold_norm(branch.conv.weight, branch.bn) for branch in block.branches()]
    if block.rbr_scale is not None:
        parts.append(fold_norm(centred(block.rbr_scale.conv.weight, side), block.rbr_scale.bn))
    if block.rbr_skip is not None:
        inputs = template.in_channels // template.groups
        identity = torch.zeros(template.in_channels, inputs, 1, 1)
        for channel in range(template.in_channels):
            identity[channel, channel % inputs] = 1
        parts.append(fold_norm(centred(identity, side), block.rbr_skip))
    kernels, biases = zip(*parts, strict=True)
    return torch.stack(kernels).sum(0), torch.stack(biases).sum(0)


def centred(kernel: Tensor, side: int) -> Tensor:
    """A 1×1 kernel in the middle of a ``side``×``side`` one."""
    return nn.functional.pad(kernel, [side // 2] * 4)


def fold_norm(kernel: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Kernel and bias of ``norm(conv(x))`` with running statistics, in float64."""
    mean, variance, gamma, beta = (
        t.detach().double()
        for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        if t is not None
    )
    scale = gamma / torch.sqrt(variance + norm.eps)
    return kernel.detach().double() * scale[:, None, None, None], beta - mean * scale


class MobileOneEncoder(nn.Module):
    """Five stages at strides 2, 4, 8, 16, 32; returns every stage's output, finest first."""

    def __init__(self, config: RethinedConfig) -> None:
        super().__init__()
        self.stage0 = MobileOneBlock(
            config.coarse_inputs,
            config.widths[0],
            3,
            stride=2,
            branches=config.branches_of(0),
            deployed=config.deployed,
        )
        for stage in range(1, 5):
            setattr(self, f"stage{stage}", _stage(config, stage))

    def forward(self, x: Tensor) -> list[Tensor]:
        """``[1, C, H, W]`` → five maps ``[1, widths[i], H/2^(i+1), W/2^(i+1)]``."""
        features = []
        for stage in range(5):
            x = getattr(self, f"stage{stage}")(x)
            features.append(x)
        return features


def _stage(config: RethinedConfig, stage: int) -> nn.Sequential:
    channels, out = config.widths[stage - 1], config.widths[stage]
    count = config.blocks[stage]
    layers: list[nn.Module] = []
    for index in range(count):
        gated = index >= count - config.squeeze_excite[stage]
        common = {
            "branches": config.branches_of(stage),
            "squeeze_excite": gated,
            "deployed": config.deployed,
        }
        stride = 2 if index == 0 else 1
        layers.append(
            MobileOneBlock(channels, channels, 3, stride=stride, groups=channels, **common)  # type: ignore[arg-type]
        )
        layers.append(MobileOneBlock(channels, out, 1, **common))  # type: ignore[arg-type]
        channels = out
    return nn.Sequential(*layers)


def reparameterise(model: nn.Module) -> None:
    """Re-parameterise every block under ``model``, in place."""
    for module in list(model.modules()):
        if isinstance(module, Foldable):
            module.reparameterise()
