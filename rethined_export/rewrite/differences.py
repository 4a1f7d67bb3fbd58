"""Differences within a map of one channel as products with a matrix for each side.

Repeating the border, which TFLite lacks, and taking slices apart would be thirteen operators.
"""

import torch
from torch import Tensor, nn


class CentralDifferences(nn.Module):
    """Twin of central differences whose border is repeated.

    Of the two numbers in each row of a matrix, 1/2 and -1/2, products and sums round as a
    difference does.

    Args:
        height, width: of the map.
    """

    down: Tensor
    across: Tensor

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.register_buffer("down", _differences(height))
        self.register_buffer("across", _differences(width).T.contiguous())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``[h, w]``, whatever dimensions of 1 come before → along columns and along rows."""
        plane = x.reshape(len(self.down), len(self.across))
        return torch.matmul(self.down, plane), torch.matmul(plane, self.across)


class HalvedDetail(nn.Module):
    """Twin of a map less the same halved, by means of 2×2, and enlarged again, bilinearly.

    Args:
        height, width: of the map, even.
    """

    down: Tensor
    across: Tensor

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.register_buffer("down", _halved_and_back(height))
        self.register_buffer("across", _halved_and_back(width).T.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """As :meth:`CentralDifferences.forward` → ``[h, w]``."""
        plane = x.reshape(len(self.down), len(self.across))
        return plane - torch.matmul(torch.matmul(self.down, plane), self.across)


def _differences(length: int) -> Tensor:
    places = torch.arange(length)
    matrix = torch.zeros(length, length)
    matrix[places, (places + 1).clamp_max(length - 1)] += 0.5
    matrix[places, (places - 1).clamp_min(0)] -= 0.5
    return matrix


def _halved_and_back(length: int) -> Tensor:
    places, halved = torch.arange(length), length // 2
    near = places // 2
    # An even place lies a quarter before the middle of its pair, an odd one as far behind.
    other = (near + 2 * (places % 2) - 1).clamp(0, halved - 1)
    enlarge = torch.zeros(length, halved)
    enlarge[places, near] += 0.75
    enlarge[places, other] += 0.25
    halve = torch.zeros(halved, length)
    halve[near, places] = 0.5
    return enlarge @ halve
