"""Central differences of one channel as products with a matrix for each side.

Repeating the border, which TFLite lacks, and taking slices apart would be thirteen operators. Of
the two numbers in each row of a matrix, 1/2 and -1/2, products and sums round as a difference does.
"""

import torch
from torch import Tensor, nn


class CentralDifferences(nn.Module):
    """Twin of central differences whose border is repeated.

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
        """``[1, 1, h, w]`` → along columns and along rows, ``[h, w]`` each."""
        plane = x.reshape(len(self.down), len(self.across))
        return torch.matmul(self.down, plane), torch.matmul(plane, self.across)


def _differences(length: int) -> Tensor:
    places = torch.arange(length)
    matrix = torch.zeros(length, length)
    matrix[places, (places + 1).clamp_max(length - 1)] += 0.5
    matrix[places, (places - 1).clamp_min(0)] -= 0.5
    return matrix
