"""Deployed weights as something that trains: the same function, in branches."""

import copy
from itertools import repeat

import pytest
import torch
from torch import Tensor

from rethined_export.models.rethined.mobileone import ConvNorm, MobileOneBlock, reparameterise
from rethined_export.models.rethined.model import Rethined
from rethined_export.models.rethined.training.samples import Batch
from rethined_export.models.rethined.training.settings import Settings, Stage
from rethined_export.models.rethined.training.start import new_model, unfold

SETTINGS = Settings(stages=(Stage("coarse", side=64, batch=2, steps=1, rate=1e-3),), branches=2)


def seen(seed: int = 0) -> Batch:
    random = torch.Generator().manual_seed(seed)
    mask = torch.zeros(4, 1, 64, 64)
    mask[:, :, 10:40, 20:50] = 1
    return Batch(torch.rand(4, 3, 64, 64, generator=random), mask)


def painted(model: Rethined, batch: Batch) -> Tensor:
    with torch.no_grad():
        return model.coarse_model(batch.image * (1 - batch.mask), batch.mask)[0]


@pytest.fixture(scope="module")
def worn() -> Rethined:
    """A network whose norms and last layer are none that a run begins with."""
    model = new_model(SETTINGS)
    random = torch.Generator().manual_seed(1)
    torch.nn.init.normal_(model.coarse_model.d0.weight, std=0.05, generator=random)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.weight, module.running_var):
                assert values is not None
                values.data = 0.5 + torch.rand(len(values), generator=random)
    return model.eval()


@pytest.fixture(scope="module")
def unfolded(worn: Rethined) -> Rethined:
    deployed = copy.deepcopy(worn)
    reparameterise(deployed)
    model = new_model(SETTINGS)
    unfold(model, deployed.state_dict(), [seen()])
    return model


def test_it_computes_what_was_deployed(worn: Rethined, unfolded: Rethined) -> None:
    """Forty layers, each rounded twice more."""
    batch = seen(7)
    given, made = painted(worn, batch), painted(unfolded.eval(), batch)
    assert (given - made).abs().max() <= 80 * 2**-23 * (1 + given.abs().max())
    again = copy.deepcopy(unfolded)
    reparameterise(again)
    assert (painted(again, batch) - given).abs().max() <= 160 * 2**-23 * (1 + given.abs().max())


def test_while_training_it_computes_the_same(worn: Rethined, unfolded: Rethined) -> None:
    """On the images that its norms were set by, whose moments are then the batch's own: forty
    layers, each of a variance that its norm adds 1e-5 to."""
    given, made = painted(worn, seen()), painted(copy.deepcopy(unfolded).train(), seen())
    assert (given - made).abs().max() <= 40 * 1e-5 * given.abs().max()


def test_every_branch_can_learn(unfolded: Rethined) -> None:
    model, batch = copy.deepcopy(unfolded).train(), seen()
    for _ in repeat(None, 2):  # what was silent passes no gradient on at first
        loss = model.coarse_model(batch.image * (1 - batch.mask), batch.mask)[0].square().sum()
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in model.coarse_model.parameters():
                if parameter.grad is not None:
                    parameter -= 1e-4 * parameter.grad.sign()
    for block in model.modules():
        if isinstance(block, MobileOneBlock):
            beside = [*block.branches(), *([block.rbr_scale] if block.rbr_scale else [])]
            for branch in beside:
                assert isinstance(branch, ConvNorm)
                assert branch.conv.weight.grad is not None and branch.conv.weight.grad.any()
