"""A rival that tells painted patches from true ones: sharpens holes where many fills would fit."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Channels of the layers at strides 2, 4 and 8, and layers after those, which widen what one
#: verdict sees to 70 pixels.
_WIDTHS, _DEEPER = (48, 96, 192), 3
_LEAK = 0.2
#: Side of the cell that one verdict is about.
CELL = 8
#: Weight of the penalty on the critic's slope at true images (R1), and steps between penalties,
#: each of which then counts for all of them. The slope is that of a thousand verdicts together: at
#: a hundred times this the critic still guessed after 120 steps.
_SLOPE, PENALISED_EVERY = 2e-5, 4


class Critic(nn.Module):
    """Convolutions over image and mask; one verdict for each cell of 8×8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        layers, channels = [], 4
        for width in _WIDTHS:
            layers.append(nn.Conv2d(channels, width, 4, stride=2, padding=1))
            channels = width
        layers += [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(_DEEPER)]
        self.layers = nn.ModuleList(layers)
        self.verdict = nn.Conv2d(channels, 1, 1)
        for layer in self.layers:
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            nn.init.kaiming_normal_(layer.weight, a=_LEAK)
            nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``[B, 3, H, W]`` and ``[B, 1, H, W]`` → verdicts ``[B, 1, H/8, W/8]`` (positive: true),
        and the features they rest on."""
        x = torch.cat([2 * image - 1, mask], dim=1)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), _LEAK)
            features.append(x)
        return self.verdict(x).float(), features


def persuasion_loss(
    critic: Critic, painted: Tensor, truth: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """What a painter minimises.

    Args:
        painted, truth: ``[B, 3, H, W]`` in [0, 1], equal outside the hole. mask: 1 = hole.

    Returns:
        The critic's doubt over hole cells; and the mean distance of its features from those of
        the truth, per share of hole.
    """
    with torch.no_grad():
        _, wanted = critic(truth, mask)
    verdicts, features = critic(painted, mask)
    doubt = _over_hole(F.softplus(-verdicts), mask)
    cover = mask.mean().clamp(min=1e-3)
    apart = [(a.float() - b.float()).abs().mean() for a, b in zip(features, wanted, strict=True)]
    return doubt, torch.stack(apart).mean() / cover


class CriticObjective(nn.Module):
    """The critic's loss as a module, so that gradients of several processes are averaged."""

    def __init__(self, critic: Critic, bf16: bool) -> None:
        super().__init__()
        self.critic, self._bf16 = critic, bf16

    def forward(self, painted: Tensor, truth: Tensor, mask: Tensor, penalise: bool) -> Tensor:
        """1.39 where it cannot tell, 0 where it always can; with the penalty, more.

        Args:
            painted, truth: ``[B, 3, H, W]``. mask: 1 = hole; cells outside it do not count.
            penalise: add the penalty on the slope.
        """
        with torch.autocast(painted.device.type, torch.bfloat16, enabled=self._bf16):
            taken, _ = self.critic(painted, mask)
            true, _ = self.critic(truth, mask)
        loss = _over_hole(F.softplus(taken), mask) + _over_hole(F.softplus(-true), mask)
        if not penalise:
            return loss
        truth = truth.detach().requires_grad_(True)
        verdicts, _ = self.critic(truth, mask)
        (slope,) = torch.autograd.grad(verdicts.sum(), truth, create_graph=True)
        return loss + PENALISED_EVERY * _SLOPE / 2 * slope.square().sum((1, 2, 3)).mean()


def _over_hole(verdicts: Tensor, mask: Tensor) -> Tensor:
    """Mean over cells, each as much as there is hole in it."""
    weight = F.avg_pool2d(mask, CELL)
    return (weight * verdicts).sum() / weight.sum().clamp(min=1e-6)
