"""What training minimises. Each loss reads as a figure one would report."""

import torch
from torch import Tensor
from torch.nn import functional as F

from rethined_export.models.rethined.config import GRID, PATCH

#: Errors under this (40 dB) are not told apart: noise cannot be predicted.
_FLOOR = 1e-4
#: Energy of a patch that counts as flat: one of 255 levels.
_FLAT = (1 / 255) ** 2
#: How much a wrong amount of texture costs against wrong pixels: see the curve in
#: docs/method-questions.md.
_TEXTURE = 0.5


def hole_error(painted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Root mean square error over each image's hole, the mean of a batch, in hundredths.

    Its minimum is the mean of what could be there, as PSNR asks; the root keeps a few busy images
    from deciding for all.
    """
    return 100 * torch.sqrt(_squared(painted, truth, mask) + _FLOOR).mean()


def hole_psnr(painted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """PSNR over the hole of each image, in dB, saturating at 40; ``[B, C, H, W]`` → ``[B]``."""
    return -10 * torch.log10(_squared(painted, truth, mask) + _FLOOR)


def _squared(painted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Mean square error over the hole of each image."""
    squared = mask * (painted - truth) ** 2
    return squared.mean((1, 2, 3)) / mask.mean((1, 2, 3)).clamp(min=1e-6)


def copy_costs(truth: Tensor, texture: Tensor, source: Tensor) -> Tensor:
    """What it costs to copy each source patch into each hole patch.

    Squared error over the true patch's energy, so that a flat patch costs 1 and a patch of equal
    energy that has nothing to do with the true one costs 2; and the squared difference of the
    logarithms of energy along x and y, without which flat patches would always win.

    Args:
        truth: high frequencies that were there ``[..., H, 192]``.
        texture: energies that there should be ``[..., H, 2]``.
        source: high frequencies that can be copied ``[..., K, 192]``.

    Returns:
        ``[..., H, K]``.
    """
    energy = truth.square().mean(-1, keepdim=True) + _FLAT
    error = torch.cdist(truth, source).square() / truth.shape[-1] / energy
    wanted, offered = (torch.log(x + _FLAT) for x in (texture, energies_of(source)))
    return error + _TEXTURE * torch.cdist(wanted, offered).square()


def energies_of(patches: Tensor) -> Tensor:
    """Energy of the differences along x and along y: ``[..., 192]`` → ``[..., 2]``."""
    grid = patches.reshape(*patches.shape[:-1], 3, PATCH, PATCH).mean(-3)
    along_x = grid.diff(dim=-1).square().mean((-2, -1))
    along_y = grid.diff(dim=-2).square().mean((-2, -1))
    return torch.stack([along_x, along_y], dim=-1)


def around(energies: Tensor) -> Tensor:
    """Means over 3×3 tokens of the grid, ``[B, N, 2]``: what one patch holds is chance, what
    surrounds it is its texture."""
    grid = energies.mT.reshape(-1, 2, GRID, GRID)
    return F.avg_pool2d(grid, 3, 1, 1, count_include_pad=False).flatten(2).mT
