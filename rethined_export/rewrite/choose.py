"""Rows and columns of an image by indices known beforehand, without a gather.

Gathers with fixed indices become GATHER_ND in TFLite, which no delegate takes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ChosenPixels(nn.Module):
    """Twin of ``x[:, :, rows][:, :, :, columns]``, exactly where all values are finite.

    Indices at even steps are a slice; others a product with a matrix of zeros and ones.

    Args:
        rows, columns: indices, ascending. height, width: of what they are taken from.
    """

    row_matrix: Tensor
    column_matrix: Tensor

    def __init__(
        self, rows: Sequence[int], columns: Sequence[int], height: int, width: int
    ) -> None:
        super().__init__()
        self.rows, self.columns = _even(rows), _even(columns)
        # A slice of everything would be an operator that Core ML's converter does not know.
        self.all_rows, self.all_columns = (
            list(places) == list(range(length))
            for places, length in ((rows, height), (columns, width))
        )
        if self.rows is None:
            self.register_buffer("row_matrix", _ones(rows, height))
        if self.columns is None:
            self.register_buffer("column_matrix", _ones(columns, width).T.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, H, W]`` → ``[B, C, rows, columns]``."""
        if self.rows is None:
            x = torch.matmul(self.row_matrix, x)
        elif not self.all_rows:
            x = x[:, :, self.rows]
        if self.columns is None:
            x = torch.matmul(x, self.column_matrix)
        elif not self.all_columns:
            x = x[:, :, :, self.columns]
        return x


def _even(places: Sequence[int]) -> slice | None:
    """The slice that indices are, where they are one."""
    step = places[1] - places[0] if len(places) > 1 else 1
    if step and list(places) == list(range(places[0], places[-1] + 1, step)):
        return slice(places[0], places[-1] + 1, step)
    return None


def _ones(places: Sequence[int], length: int) -> Tensor:
    """A row for each index, 1 there and 0 elsewhere: ``[indices, length]``."""
    chosen = torch.zeros(len(places), length)
    chosen[torch.arange(len(places)), torch.tensor(places)] = 1
    return chosen
