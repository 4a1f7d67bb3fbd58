"""Token mixing as a gather of whole patches.

Dense mixing multiplies an N×N map with N patches, though all but k weights of a row are zero. Here
each patch is fetched: view the image as a table of patch rows ``[3·H·grid, patch]`` (no copy), look
up row ``r`` of the chosen patch for row ``r`` of every token, and the result *is* the new image.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.rewrite.tokens import token_places


class PatchGather(nn.Module):
    """Twin of ``fold(A @ unfold(x))`` for maps with k non-zero weights a row.

    Args:
        patch: side of a patch, in pixels of the image mixed.
        grid: tokens along one side.
    """

    places: Tensor
    row_offsets: Tensor
    plane_offsets: Tensor

    def __init__(self, patch: int, grid: int) -> None:
        super().__init__()
        self.patch, self.grid, self.side = patch, grid, patch * grid
        rows = torch.arange(patch, dtype=torch.int32) * grid
        planes = torch.arange(3, dtype=torch.int32) * self.side * grid
        self.register_buffer("places", token_places(grid))
        self.register_buffer("row_offsets", rows.reshape(1, patch, 1))
        self.register_buffer("plane_offsets", planes.reshape(3, 1, 1))

    def forward(self, x: Tensor, indices: Tensor, weights: Tensor | None) -> Tensor:
        """Mix patches.

        Args:
            x: ``[1, 3, side, side]``.
            indices: patch to fetch for each token, int32 ``[1, N, k]``, row by row.
            weights: ``[1, N, k]``; None means k = 1 and weight 1.

        Returns:
            ``[1, 3, side, side]``.
        """
        table = x.reshape(3 * self.side * self.grid, self.patch)
        mixed = None
        for rank in range(indices.shape[2]):
            fetched = self._fetch(table, indices[:, :, rank])
            if weights is not None:
                fetched = fetched * self._spread(weights[:, :, rank])
            mixed = fetched if mixed is None else mixed + fetched
        assert mixed is not None
        return mixed.reshape(1, 3, self.side, self.side)

    def _fetch(self, table: Tensor, chosen: Tensor) -> Tensor:
        """One patch for each token, as ``[3, side, grid, patch]``."""
        grid = self.grid
        place = F.embedding(chosen.reshape(-1), self.places).to(torch.int32)
        down, across = (place[:, i : i + 1].reshape(grid, 1, grid) for i in (0, 1))
        first = down * (self.patch * grid) + across
        rows = (first + self.row_offsets).reshape(1, self.side, grid)
        return F.embedding(rows + self.plane_offsets, table)

    def _spread(self, weight: Tensor) -> Tensor:
        """A weight for each token, repeated over the patch's rows: ``[1, side, grid, 1]``."""
        tall = weight.reshape(self.grid, 1, self.grid).expand(self.grid, self.patch, self.grid)
        return tall.reshape(1, self.side, self.grid, 1)
