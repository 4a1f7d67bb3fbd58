"""Reading patches out of an image by one table look-up each, with a halo where one is asked for."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.rewrite.tokens import token_places

#: Pixels of an image that one look-up reads: no tensor has to be copied to be read so.
CHUNK = 8


class PatchFetch(nn.Module):
    """Reads square windows around tokens, ``[M, rows, channels, columns]``.

    The image ``[1, C, side, side]`` is a table of rows of eight pixels; a window is as many of them
    as cover it.

    Args:
        channels: of the image.
        patch: side of a token's patch in it, a multiple of eight.
        grid: tokens along one side.
        halo: pixels to read around the patch, at most eight, and no more than the margin.
        margin: pixels of the image around the tokens' patches, a multiple of eight.
    """

    places: Tensor
    lines: Tensor
    chunks: Tensor
    planes: Tensor

    def __init__(
        self, channels: int, patch: int, grid: int, halo: int = 0, margin: int = 0
    ) -> None:
        super().__init__()
        self.channels, self.patch, self.halo = channels, patch, halo
        self.side = patch * grid + 2 * margin
        self.register_buffer("places", token_places(grid))
        around = 1 if halo else 0
        self.width = patch // CHUNK + 2 * around
        lines = torch.arange(margin - halo, margin + patch + halo, dtype=torch.int32)
        first = margin // CHUNK - around
        chunks = torch.arange(first, first + self.width, dtype=torch.int32)
        planes = torch.arange(channels, dtype=torch.int32) * (self.side * self.side // CHUNK)
        self.register_buffer("lines", lines.reshape(1, -1, 1, 1))
        self.register_buffer("chunks", chunks.reshape(1, 1, 1, -1))
        self.register_buffer("planes", planes.reshape(1, 1, -1, 1))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """``[1, C, side, side]`` and int32 ``[M]`` → ``[M, e, C, e]``, e = patch + 2·halo."""
        count, tall = tokens.shape[0], self.patch + 2 * self.halo
        place = F.embedding(tokens, self.places).to(torch.int32)
        down, across = (place[:, i : i + 1].reshape(count, 1, 1, 1) for i in (0, 1))
        line = down * self.patch + self.lines
        chunk = across * (self.patch // CHUNK) + self.chunks
        rows = line * (self.side // CHUNK) + self.planes + chunk
        found = F.embedding(rows.reshape(count, -1), x.reshape(-1, CHUNK))
        found = found.reshape(count, tall, self.channels, self.width * CHUNK)
        if not self.halo:
            return found
        return found[:, :, :, CHUNK - self.halo : CHUNK + self.patch + self.halo]
