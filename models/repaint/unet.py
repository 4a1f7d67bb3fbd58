"""The network: which noise lies on an image.

"Diffusion Models Beat GANs on Image Synthesis", arXiv 2105.05233; layers and names are those of
the checkpoints published with it, which RePaint uses as they are.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.repaint.config import RepaintConfig

_GROUPS = 32
#: Longest period of the waves that tell the time, over 2π.
_SLOWEST = 10000.0


def waves(time: Tensor, count: int) -> Tensor:
    """Times ``[B]`` as ``count`` cosines and sines, the cosines first: ``[B, count]``."""
    half = count // 2
    rates = torch.exp(-math.log(_SLOWEST) * torch.arange(half, dtype=torch.float32) / half)
    angles = time.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class RepaintUNet(nn.Module):
    """The network; a state dict's keys are those of public checkpoints."""

    def __init__(self, config: RepaintConfig) -> None:
        super().__init__()
        self.config = config
        self.time_embed = nn.Sequential(
            nn.Linear(config.width, 4 * config.width),
            nn.SiLU(),
            nn.Linear(4 * config.width, 4 * config.width),
        )
        first = _Layers([nn.Conv2d(3, config.width, 3, padding=1)])
        self.input_blocks = nn.ModuleList([first, *_down(config)])
        bottom = config.width * config.widths[-1]
        self.middle_block = _Layers(
            [*_block(config, bottom, bottom, attentive=True), Residual(config, bottom, bottom)]
        )
        self.output_blocks = nn.ModuleList(_up(config))
        last = config.width * config.widths[0]
        self.out = nn.Sequential(_norm(last), nn.SiLU(), nn.Conv2d(last, 6, 3, padding=1))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Tell noise from image.

        Args:
            x: ``[B, 3, H, W]``, RGB in [-1, 1] with noise on it; sides are multiples of the
                configuration's stride.
            time: ``[B]``, how noisy, 0 to 999.

        Returns:
            ``[B, 6, H, W]``: the noise, and where the variance of a step back lies between the
            least (-1) and the most (1) it can be.
        """
        return self.of_waves(x, waves(time, self.config.width).to(x.dtype))

    def of_waves(self, x: Tensor, time: Tensor) -> Tensor:
        """The same of times as :func:`waves`, ``[B, width]``."""
        embedded = self.time_embed(time)
        skips = []
        for block in self.input_blocks:
            x = block(x, embedded)
            skips.append(x)
        x = self.middle_block(x, embedded)
        for block in self.output_blocks:
            x = block(torch.cat([x, skips.pop()], dim=1), embedded)
        return self.out(x)


class _Layers(nn.ModuleList):
    """Layers in a row; residual blocks are told the time too."""

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, embedded) if isinstance(layer, Residual) else layer(x)
        return x


def _levels(config: RepaintConfig) -> list[tuple[int, bool]]:
    """Channels of each level, from the image's own down, and whether it has attention."""
    return [
        (config.width * width, 1 << level in config.attention)
        for level, width in enumerate(config.widths)
    ]


def _block(config: RepaintConfig, inputs: int, width: int, attentive: bool) -> list[nn.Module]:
    block = Residual(config, inputs, width)
    return [block, Attention(width, config.head)] if attentive else [block]


def _down(config: RepaintConfig) -> Iterator[_Layers]:
    levels, inputs = _levels(config), config.width
    for level, (width, attentive) in enumerate(levels):
        for _ in range(config.blocks):
            yield _Layers(_block(config, inputs, width, attentive))
            inputs = width
        if level + 1 < len(levels):
            yield _Layers([Residual(config, width, width, scale=0.5)])


def _up(config: RepaintConfig) -> Iterator[_Layers]:
    levels = _levels(config)
    skips = [config.width]  # what the input blocks give, the last of which is taken first
    for level, (width, _) in enumerate(levels):
        skips += [width] * (config.blocks + (level + 1 < len(levels)))
    inputs = levels[-1][0]
    for level in reversed(range(len(levels))):
        width, attentive = levels[level]
        for block in range(config.blocks + 1):
            layers = _block(config, inputs + skips.pop(), width, attentive)
            if level and block == config.blocks:
                layers.append(Residual(config, width, width, scale=2.0))
            yield _Layers(layers)
            inputs = width


class Residual(nn.Module):
    """Two convolutions beside a skip; the time scales and shifts what the second is given.

    Args:
        scale: of the sides: 0.5 by means of 2×2 pixels, 2 by nearest neighbours.
    """

    def __init__(
        self, config: RepaintConfig, inputs: int, outputs: int, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.scale = scale
        self.in_layers = nn.Sequential(
            _norm(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(4 * config.width, 2 * outputs))
        self.out_layers = nn.Sequential(
            _norm(outputs),
            nn.SiLU(),
            nn.Identity(),  # dropout, in training
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        """``[B, inputs, h, w]`` and the time ``[B, 4 · width]`` → ``[B, outputs, h', w']``."""
        norm, act, conv = self.in_layers
        h = conv(self._resized(act(norm(x))))
        scale, shift = self.emb_layers(embedded)[:, :, None, None].chunk(2, dim=1)
        norm, *rest = self.out_layers
        h = norm(h) * (1 + scale) + shift
        for layer in rest:
            h = layer(h)
        return self.skip_connection(self._resized(x)) + h

    def _resized(self, x: Tensor) -> Tensor:
        if self.scale < 1:
            return F.avg_pool2d(x, 2)
        return F.interpolate(x, scale_factor=2.0, mode="nearest") if self.scale > 1 else x


class Attention(nn.Module):
    """Every pixel looks at all pixels, in several heads, and adds what it sees.

    Args:
        head: channels of one head; they divide ``channels``.
    """

    def __init__(self, channels: int, head: int) -> None:
        super().__init__()
        self.heads = channels // head
        self.norm = _norm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, h, w]`` → the same."""
        batch, channels, height, width = x.shape
        pixels, head = height * width, channels // self.heads
        # The three lie side by side for each head, not heads for each of the three.
        packed = self.qkv(self.norm(x).reshape(batch, channels, pixels))
        packed = packed.reshape(batch * self.heads, 3 * head, pixels)
        query, key, value = packed.split(head, dim=1)
        scale = head**-0.25  # on each of the two, so that no product grows large
        weights = torch.softmax((query * scale).transpose(1, 2) @ (key * scale), dim=2)
        seen = (value @ weights.transpose(1, 2)).reshape(batch, channels, pixels)
        return x + self.proj_out(seen).reshape(batch, channels, height, width)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels)
