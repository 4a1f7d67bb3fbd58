"""What runs HiFill's network alone: residuals around it, and whole photos by published programs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.converters.types import Array, Runner
from rethined_export.errors import UserError
from rethined_export.models.hifill import CELL, HiFillConfig, HiFillInpainter
from rethined_export.recipes.hifill import pipeline
from rethined_export.recipes.types import Bools, Pixels, Running


class NativeRunner:
    """The network's own program as a function from image and mask to image, of any size it has.

    Args:
        network: ``input`` ``[1, 4, 512, 512]`` to ``output`` and ``attention``, as of ``HiFill``.
    """

    takes = frozenset({"image", "mask"})

    def __init__(self, network: Runner, config: HiFillConfig) -> None:
        self._inpainter = _HoleInpainter(Called(network), config)
        self.name = network.name

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        image, mask = (
            torch.from_numpy(np.array(inputs[name], np.float32)) for name in ("image", "mask")
        )
        return {"output": self._inpainter(image, mask).numpy()}


class Called(nn.Module):
    """A network's program as a module: native input ``[1, 4, 512, 512]`` → painted, weights."""

    def __init__(self, program: Runner) -> None:
        super().__init__()
        self._program = program

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        made = self._program(input=x.numpy())
        raw, weights = (
            torch.from_numpy(np.array(made[name], np.float32)) for name in ("output", "attention")
        )
        return raw, weights


class _HoleInpainter(HiFillInpainter):
    """Mixes residuals of the hole's cells only, so that the cost of large images follows it."""

    def aggregated(self, residual: Tensor, weights: Tensor, hole: Tensor) -> Tensor:
        grid, mixed = self.config.grid, torch.zeros_like(residual)
        filled = F.max_pool2d(hole, CELL).flatten() > 0
        shares = weights[0, filled]
        taken = (shares != 0).any(0)
        values = _cells(residual, grid)[taken.reshape(grid, grid)]
        sums = shares[:, taken] @ values.flatten(1)
        _cells(mixed, grid)[filled.reshape(grid, grid)] = sums.reshape(-1, *values.shape[1:])
        return mixed


def _cells(x: Tensor, grid: int) -> Tensor:
    """``[1, 3, S, S]`` as ``[grid, grid, 3, S/grid, S/grid]``, the same memory."""
    side = x.shape[2] // grid
    return x.view(3, grid, side, grid, side).permute(1, 3, 0, 2, 4)


def fill_photo(way: pipeline.Way, made: Running, photo: Pixels, hole: Bools) -> Pixels:
    """A photo filled in a published way, at 8 bits, at the artifact's resolution.

    Raises:
        UserError: the artifact is the whole in one program.
    """
    if made.options.io != "native":
        raise UserError(
            "the published programs need the network alone, and its attention; export with "
            "--io native"
        )
    most = int(np.iinfo(photo.dtype).max) if photo.dtype.kind == "u" else 1
    levels = np.rint(photo.astype(np.float64) * (255 / most)).astype(np.uint8)
    by = made.options.window.height // pipeline.SIDE
    filled = way(Called(made.programs["whole"]), levels, hole, by)
    return (filled.astype(np.float64) * (most / 255)).astype(photo.dtype)
