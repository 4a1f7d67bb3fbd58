"""Partial convolutions that paint by priority or all that they can reach, and layers of them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.pmrf.priority import Rule, contour, mask_update

EPSILON, SLOPE = 1e-5, 0.2


def window_sum(x: Tensor, stride: int = 1) -> Tensor:
    """Of ``[B, 1, h, w]`` in windows of 3×3; past the border there is nothing."""
    return F.conv2d(x, torch.ones(1, 1, 3, 3, dtype=x.dtype), stride=stride, padding=1)


class PartialConv(nn.Module):
    """x' = Ω/sum(M) · W·(X ⊙ M) + b where m' = 1, else 0.

    Args:
        stride: 1, or 2: a place is then known if one of its 2×2 is.
        level: whose priorities decide which places are painted (stride 1).
    """

    def __init__(self, inputs: int, outputs: int, level: int, stride: int = 1) -> None:
        super().__init__()
        self.level = level
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1)

    @property
    def stride(self) -> int:
        """Places that the window moves by."""
        return self.conv.stride[0]

    def forward(self, x: Tensor, known: Tensor, rule: Rule = mask_update) -> tuple[Tensor, Tensor]:
        """Paint.

        Args:
            x: ``[B, inputs, h, w]``. known: ``[B, 1, h, w]``, 1 or 0.
            rule: what decides which places are painted.

        Returns:
            ``[B, outputs, h', w']``, and what is known there.
        """
        count = window_sum(known, stride=self.stride)
        if self.stride == 1:
            priority = count * contour(x.mean(1, keepdim=True), known, self.level)
            found = rule(known, count, priority)
        else:
            found = F.max_pool2d(known, self.stride, self.stride)
        mixed = F.conv2d(x * known, self.conv.weight, stride=self.stride, padding=1)
        assert self.conv.bias is not None
        whole = 9 / count.clamp_min(1.0) * mixed + self.conv.bias.reshape(1, -1, 1, 1)
        return found * whole, found


class Layer(nn.Module):
    """A partial convolution, an instance norm without parameters, and a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, level: int, stride: int = 1) -> None:
        super().__init__()
        self.partial = PartialConv(inputs, outputs, level, stride)

    def forward(
        self, x: Tensor, known: Tensor | None, rule: Rule = mask_update
    ) -> tuple[Tensor, Tensor | None]:
        """As :class:`PartialConv`; 0 where unknown.

        Args:
            known: None: all is; an ordinary convolution then, padded by zeros.
        """
        if known is None:
            return activated(self.partial.conv(x)), None
        x, known = self.partial(x, known, rule)
        return activated(x) * known, known


def activated(x: Tensor) -> Tensor:
    """What follows a convolution: ``[B, C, h, w]`` in and out."""
    return F.leaky_relu(F.instance_norm(x, eps=EPSILON), SLOPE)


class Block(nn.Module):
    """Two layers, and what they were given added to what they give."""

    def __init__(self, inputs: int, outputs: int, level: int) -> None:
        super().__init__()
        self.first = Layer(inputs, outputs, level)
        self.second = Layer(outputs, outputs, level)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(
            inputs, outputs, 1, bias=False
        )  # fmt: skip

    def forward(
        self, x: Tensor, known: Tensor | None, rule: Rule = mask_update
    ) -> tuple[Tensor, Tensor | None]:
        """As :class:`Layer`, x being 0 where unknown."""
        made, found = self.first(x, known, rule)
        made, found = self.second(made, found, rule)
        return self.shortcut(x) + made, found
