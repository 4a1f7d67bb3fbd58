"""The exported AOT-GAN against the plain one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rethined_export.models.aot_gan import (
    STAND_IN_GAIN,
    AotBlock,
    AotGan,
    AotGanConfig,
    AotGanInpainter,
)
from rethined_export.models.seeded import seed_weights
from rethined_export.recipes.aot_gan.graph import FoldedBlock, rewritten

#: In (-1, 1). Gates magnify rounding tenfold over the deviation; measured 2e-6.
TOLERANCE = 2e-5


def narrow() -> AotGan:
    model = AotGan(AotGanConfig("narrow", blocks=2, width=8)).eval().requires_grad_(False)
    seed_weights(model, STAND_IN_GAIN)
    return model


@settings(deadline=None, max_examples=20)
@given(height=st.integers(9, 20), width=st.integers(9, 20), seed=st.integers(0, 2**31))
def test_equals_the_generator(height, width, seed):
    """From the smallest map on, which the widest branch reflects whole."""
    model = narrow()
    x = torch.rand(1, 4, 4 * height, 4 * width, generator=torch.Generator().manual_seed(seed))
    assert (rewritten(model)(x) - model(x)).abs().max() <= TOLERANCE


@pytest.mark.parametrize("rates", [(1, 2, 4, 8), (1, 2), (3, 5, 2, 1)])
@torch.no_grad()
def test_a_block_of_other_rates(rates):
    block = AotBlock(16, rates)
    x = torch.randn(1, 16, 12, 10, generator=torch.Generator().manual_seed(3))
    plain = block(x)
    assert (FoldedBlock(block)(x) - plain).abs().max() <= TOLERANCE * plain.abs().max()


def test_nothing_reflects_by_padding_and_the_generator_is_not_changed():
    model = narrow()
    made = rewritten(model)
    plain = (AotBlock, nn.ReflectionPad2d)
    assert not any(isinstance(module, plain) for module in made.modules())
    assert sum(isinstance(module, AotBlock) for module in model.modules()) == 2
    numbers = sum(parameter.numel() for parameter in made.parameters())
    assert numbers == sum(parameter.numel() for parameter in model.parameters())


def test_inpainter_keeps_known_pixels_bit_for_bit():
    draw = torch.Generator().manual_seed(4)
    image = torch.rand(1, 3, 40, 48, generator=draw)
    mask = (torch.rand(1, 1, 40, 48, generator=draw) < 0.4).float()
    made = AotGanInpainter(rewritten(narrow()))(image, mask)
    known = (mask == 0).expand_as(image)
    assert torch.equal(made[known], image[known])
