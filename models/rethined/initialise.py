"""A fixed-seed initialisation that keeps activations alive: the ``untrained`` weights.

It makes every step of the method do something measurable (no dead unit, no saturated sigmoid, no
uniform attention), so that exports can be checked before trained weights exist. It cannot inpaint.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined.config import LOW_RESOLUTION, PATCH_SIZE, RethinedConfig
from rethined_export.models.rethined.mobileone import (
    MobileOneBlock,
    SqueezeExcite,
    reparameterise,
)
from rethined_export.models.rethined.model import Rethined

#: Spread of the attention scores after initialisation: sharp enough to prefer, soft enough to mix.
SCORE_DEVIATION = 3.0


def untrained(config: RethinedConfig, seed: int = 0) -> Rethined:
    """A model in eval mode, the same for the same seed; batch-norm statistics are calibrated."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Rethined(config)
        _initialise(model)
        images, mask = _calibration_scenes()
    model.eval()
    with torch.no_grad():
        half = mask[:, :, ::2, ::2].expand(2, -1, -1, -1)
        masked = images[:, :, ::2, ::2] * (1 - half)
        _calibrate_norms(model, masked, half)
        _calibrate_output(model, masked, half)
        _calibrate_attention(model, images[:1], mask)
    return model.requires_grad_(False)


def _initialise(model: Rethined) -> None:
    blocks: list[MobileOneBlock] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, std=0.1)
        # Mostly open units and weak k×k branches beside a strong identity: a deep random network
        # otherwise turns sparse and magnifies rounding, as no trained one does.
        elif isinstance(module, MobileOneBlock):
            blocks.append(module)
    for block in blocks:
        shortcut = block.rbr_skip or (block.rbr_scale and block.rbr_scale.bn)
        if shortcut:
            for branch in block.branches():
                nn.init.uniform_(branch.bn.weight, 0.1, 0.2)
        if isinstance(block.se, SqueezeExcite):
            nn.init.normal_(block.se.expand.weight, std=0.02)
        nn.init.normal_((shortcut or block.branches()[0].bn).bias, mean=1.0, std=0.1)
    head, config = model.generator.multihead_attention, model.config
    with torch.no_grad():
        # Equal projections make the score a similarity, so that even untrained matches make sense.
        head.w_ks.weight.copy_(head.w_qs.weight)
        if config.variant == "published":
            for layer in (head.w_vs, head.fc):
                layer.weight.copy_(torch.eye(PATCH_SIZE))
                layer.weight.add_(torch.randn(PATCH_SIZE, PATCH_SIZE), alpha=0.01)
        # Near identity: σ(4(x − ½)) follows x through the middle of its range.
        coherence = model.generator.coherence
        if coherence is not None:
            assert coherence.bias is not None
            coherence.weight.mul_(0.1)
            centre = coherence.weight[:, :, 1, 1]
            centre.copy_(centre + 4 * torch.eye(PATCH_SIZE))
            coherence.bias.fill_(-2)


def _calibration_scenes() -> tuple[Tensor, Tensor]:
    """Noise at every scale, one of high contrast, ``[2, 3, 512, 512]``, and a mask of two holes."""
    images = torch.zeros(2, 3, LOW_RESOLUTION, LOW_RESOLUTION)
    for side in (2, 8, 32, 128, 512):
        noise = torch.rand(2, 3, side, side)
        images += F.interpolate(noise, size=LOW_RESOLUTION, mode="bilinear") / 5
    contrast = torch.tensor([2.0, 0.6])[:, None, None, None]
    images = ((images - 0.5) * contrast + 0.5).clamp(0, 1)
    mask = torch.zeros(1, 1, LOW_RESOLUTION, LOW_RESOLUTION)
    mask[:, :, 100:220, 60:300] = 1
    mask[:, :, 300:420, 280:400] = 1
    return images, mask


def _calibrate_norms(model: Rethined, x: Tensor, mask: Tensor) -> None:
    """Set each norm's running statistics to those of its own input, first layer first.

    Nearly constant channels get a variance floor: dividing by their own would magnify rounding.
    """

    def observe(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None and norm.running_var is not None
        mean, variance = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance.clamp(min=0.25 * variance.mean().item()))

    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    handles = [norm.register_forward_pre_hook(observe) for norm in norms]
    model.coarse_model(x, mask)
    for handle in handles:
        handle.remove()


def _calibrate_output(model: Rethined, x: Tensor, mask: Tensor) -> None:
    """Scale the last layer: mean 0, deviation 1 before a sigmoid, a tenth where a fill is added."""
    last = model.coarse_model.d0
    assert isinstance(last, nn.Conv2d | nn.ConvTranspose2d) and last.bias is not None
    seen: list[Tensor] = []
    handle = last.register_forward_hook(lambda _module, _inputs, out: seen.append(out))
    model.coarse_model(x, mask)
    handle.remove()
    scale = (1.0 if model.config.start == "zeros" else 0.1) / seen[0].std()
    last.weight.mul_(scale)
    last.bias.sub_(seen[0].mean()).mul_(scale)


def _calibrate_attention(model: Rethined, image: Tensor, mask: Tensor) -> None:
    """Scale queries and keys alike so that hole queries' scores deviate by SCORE_DEVIATION."""
    deployed = copy.deepcopy(model)
    reparameterise(deployed)
    result = deployed(image, mask)
    known = result.scores[result.hole > 0][:, result.hole == 0]
    scale = (SCORE_DEVIATION / known.std(dim=1).mean()).sqrt()
    head = model.generator.multihead_attention
    head.w_qs.weight.mul_(scale)
    head.w_ks.weight.mul_(scale)
