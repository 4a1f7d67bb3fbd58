"""Rounded weights: on the grid of int8, and nearer to what was than the nearest."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rethined_export.models.rethined.coarse import SeparableUp
from rethined_export.models.rethined.mobileone import reparameterise
from rethined_export.models.rethined.model import Rethined
from rethined_export.models.rethined.training.eight_bits import (
    STEPS,
    rounded,
    steps,
    to_eight_bits,
)
from rethined_export.models.rethined.training.samples import Batch
from rethined_export.models.rethined.training.settings import Settings, Stage
from rethined_export.models.rethined.training.start import new_model
from rethined_export.quality.scenes import bundled
from rethined_export.recipes.rethined import shipped_network


def nearest(kernel: Tensor, step: Tensor) -> Tensor:
    return (kernel / step).round() * step


def in_eight_bits(model: Rethined) -> Rethined:
    """As a program of int8 weights holds the coarse model: every tensor of its own."""
    made = copy.deepcopy(model)
    split = {
        layer.pointwise.reparam_conv: layer.reduce.reparam_conv.out_channels
        for layer in made.modules()
        if isinstance(layer, SeparableUp)
    }
    for layer in made.coarse_model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            kernel = layer.weight.data.flatten(1)[None]
            kernel = nearest(kernel, steps(kernel, split.get(layer, kernel.shape[2])))
            layer.weight.data = kernel.reshape(layer.weight.shape)
    return made


def painted(model: Rethined, batch: Batch) -> Tensor:
    with torch.no_grad():
        return model.coarse_model(batch.image * (1 - batch.mask), batch.mask)[0]


@settings(deadline=None, max_examples=30)
@given(
    groups=st.integers(1, 4),
    outputs=st.integers(1, 5),
    inputs=st.integers(1, 24),
    first=st.integers(1, 24),
    seed=st.integers(0, 2**31),
)
def test_on_the_grid(groups: int, outputs: int, inputs: int, first: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    kernel = torch.randn(groups, outputs, inputs, generator=random, dtype=torch.float64)
    seen = torch.randn(groups, inputs, 50, generator=random, dtype=torch.float64)
    step = steps(kernel, first)
    counts = rounded(kernel, seen @ seen.mT, step) / step
    assert (counts - counts.round()).abs().max() <= 1e-9
    assert counts.abs().max() <= STEPS + 1e-9


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31))
def test_results_are_nearer_than_those_of_the_nearest(seed: int) -> None:
    """Where inputs have much in common, as those of a layer have: by half at least."""
    random = torch.Generator().manual_seed(seed)
    kernel = torch.randn(1, 64, 48, generator=random, dtype=torch.float64)
    seen = torch.randn(1, 48, 4, generator=random, dtype=torch.float64) @ torch.randn(
        1, 4, 400, generator=random, dtype=torch.float64
    ) + 0.1 * torch.randn(1, 48, 400, generator=random, dtype=torch.float64)
    step = steps(kernel, 48)
    lost = [
        float(((made - kernel) @ seen).square().mean())
        for made in (rounded(kernel, seen @ seen.mT, step), nearest(kernel, step))
    ]
    assert lost[0] < 0.5 * lost[1]


def test_inputs_that_are_always_zero_harm_nothing() -> None:
    kernel = torch.ones(2, 1, 9, dtype=torch.float64)
    made = rounded(kernel, torch.zeros(2, 9, 9, dtype=torch.float64), steps(kernel, 9))
    torch.testing.assert_close(made, kernel)


def test_a_network_paints_what_it_did() -> None:
    """And int8 no longer changes it; rounded to the nearest it loses four times as much."""
    settings = Settings(stages=(Stage("coarse", side=64, batch=1, steps=1, rate=1e-3),))
    model = new_model(settings).eval()
    random = torch.Generator().manual_seed(2)
    torch.nn.init.normal_(model.coarse_model.d0.weight, std=0.02, generator=random)
    reparameterise(model)
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 30:90, 40:110] = 1
    images = torch.rand(5, 1, 3, 16, 16, generator=random)
    batches = [
        Batch(torch.nn.functional.interpolate(image, size=(128, 128), mode="bicubic"), mask)
        for image in images
    ]
    made = copy.deepcopy(model)
    to_eight_bits(made, batches[:4])
    before, after, plain = (painted(m, batches[4]) for m in (model, made, in_eight_bits(model)))
    nearest_loses = float((plain - before).square().mean())
    assert float((after - before).square().mean()) < 0.25 * nearest_loses
    stored = painted(in_eight_bits(made), batches[4])
    assert float((stored - after).square().mean()) < 0.1 * nearest_loses


@pytest.mark.parametrize("photo", ["astronaut", "coffee"])
def test_the_shipped_weights_are_those_of_eight_bits(photo: str) -> None:
    """They are stored in half precision, so not exactly: 60 dB is a four-thousandth."""
    model = shipped_network()
    assert isinstance(model, Rethined)
    case = next(case for case in bundled().cases(512, 0) if case.photo == photo)
    batch = Batch(case.image, case.mask)
    apart = (painted(model, batch) - painted(in_eight_bits(model), batch))[
        case.mask.expand(1, 3, 512, 512) > 0
    ]
    assert float(apart.square().mean()) < 1e-6
