"""Norms over groups of channels whose weight is no factor of its own.

A constant factor with a constant added after it becomes a batch norm in Core ML, which adds 1e-5 to
a variance that is 1: in a network of 38 such norms, differences of 2e-5. Here weights are divided
by the deviations first. Sums are made in small steps (see :mod:`rethined_export.rewrite.standard`):
rows, columns, then the channels of a group.
"""

import torch
from torch import Tensor, nn

from rethined_export.rewrite.standard import map_mean


class GroupNorm(nn.Module):
    """Twin of :class:`torch.nn.GroupNorm` for maps.

    Args:
        plain: with weight and bias.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, plain: nn.GroupNorm) -> None:
        super().__init__()
        groups = plain.num_groups
        self.epsilon = plain.eps
        weight, bias = plain.weight.detach(), plain.bias.detach()
        self.weight = nn.Parameter(weight.reshape(1, groups, -1), requires_grad=False)
        self.bias = nn.Parameter(bias.reshape(1, -1, 1, 1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, h, w]`` → the same."""
        means = self._over_groups(map_mean(x))
        centred = x - means.expand(-1, -1, self.weight.shape[2]).reshape(*x.shape[:2], 1, 1)
        variances = self._over_groups(map_mean(centred * centred))
        scale = self.weight / torch.sqrt(variances + self.epsilon)
        return centred * scale.reshape(*x.shape[:2], 1, 1) + self.bias

    def _over_groups(self, means: Tensor) -> Tensor:
        """Of channels ``[B, C, 1, 1]`` → of groups ``[B, G, 1]``."""
        return means.reshape(-1, *self.weight.shape[1:]).mean(2, keepdim=True)
