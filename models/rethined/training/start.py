"""What a run starts from: a network that adds nothing to its fill and passes signals through."""

import torch
from torch import nn

from rethined_export.models.rethined.mobileone import MobileOneBlock
from rethined_export.models.rethined.model import Rethined
from rethined_export.models.rethined.training.settings import Settings

#: Share of a block's convolutions beside its identity, and shifts that keep a batch-normed signal
#: (deviation 1) mostly on the linear side of its ReLU.
_BESIDE, _SHIFT_IDENTITY, _SHIFT_ALONE = 0.4, 1.0, 0.5


def new_model(settings: Settings) -> Rethined:
    """The model of a run before its first step.

    With batch norm as it comes, forty layers of ReLU scramble the image: the network then took
    thousands of steps before it beat the plain fill. Nearly linear ones gain from step 200 on.
    """
    torch.manual_seed(settings.seed)
    model = Rethined(settings.config)
    for block in model.modules():
        if isinstance(block, MobileOneBlock):
            _pass_through(block)
    if settings.start == "push-pull":
        nn.init.zeros_(model.coarse_model.d0.weight)
        assert model.coarse_model.d0.bias is not None
        nn.init.zeros_(model.coarse_model.d0.bias)
    return model


def _pass_through(block: MobileOneBlock) -> None:
    alone = block.rbr_skip is None
    for branch in block.branches():
        nn.init.constant_(branch.bn.weight, 1 if alone else _BESIDE)
        nn.init.constant_(branch.bn.bias, _SHIFT_ALONE if alone else 0)
    if block.rbr_scale is not None:
        nn.init.constant_(block.rbr_scale.bn.weight, _BESIDE)
    if block.rbr_skip is not None:
        nn.init.constant_(block.rbr_skip.bias, _SHIFT_IDENTITY)
