"""HiFill's export graph against the reference, on a network of a few channels and positions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rethined_export.models.hifill import ContextualAttention
from rethined_export.photo.window import Window
from rethined_export.recipes.hifill import RECIPE
from rethined_export.recipes.hifill.graph import AggregatingAttention, WholeGraph
from rethined_export.recipes.hifill.options import HiFillOptions
from rethined_export.recipes.types import scene
from tests.guests import narrow_hifill

#: The gate that every export has to pass.
TOLERANCE = 1e-5


@settings(deadline=None, max_examples=60)
@given(
    grid=st.integers(2, 7),
    channels=st.tuples(*[st.sampled_from([1, 2, 5])] * 3),
    cover=st.sampled_from([0.0, 0.02, 0.1, 1.0]),
    spread=st.sampled_from([0.0, 1e-3, 0.1, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_attention_equals_that_by_patches(grid, channels, cover, spread, seed):
    """In float64, where both would agree to the last digits but for what is wrong."""
    draw = torch.Generator().manual_seed(seed)
    sides, kind = (2 * grid, 4 * grid, 8 * grid), torch.float64
    maps = [
        spread * torch.randn(1, count, side, side, generator=draw, dtype=kind)
        for count, side in zip(channels, sides, strict=True)
    ]
    hole = (torch.rand(1, 1, grid, grid, generator=draw, dtype=kind) < cover).to(kind)
    inputs = (maps[0], torch.kron(hole, torch.ones(16, 16, dtype=kind)), *maps[1:])
    plain, made = ContextualAttention()(*inputs), AggregatingAttention(grid).double()(*inputs)
    for expected, actual in zip(plain, made, strict=True):
        assert actual.shape == expected.shape
        assert (actual - expected).abs().max() <= 1e-9


@pytest.mark.parametrize("by", [1, 2, 3])
@torch.no_grad()
def test_equals_the_reference(by):
    model = narrow_hifill().model
    image, mask = scene(Window.square(256 * by)).values()
    truth = model(image, mask)
    assert (WholeGraph(model.network)(image, mask) - truth).abs().max() <= TOLERANCE
    assert torch.equal(model(image, mask), truth), "the network was changed"


@pytest.mark.parametrize("io", ["plain", "native"])
def test_operators_are_those_that_every_target_takes(io):
    """No kernel made at run time, no gather or scatter, no folding, nothing of more than rank 4,
    and no constant above 1 MB but weights."""
    program = RECIPE.program(HiFillOptions(size="512x512", io=io), narrow_hifill().model, "whole")
    made = torch.export.export(
        program.module.eval(), tuple(program.inputs.values())
    ).run_decompositions({})
    weights = {name for name, _ in program.module.named_parameters()}
    for name, tensor in made.state_dict.items():
        assert name in weights or tensor.numel() * 4 <= 2**20, name
    unwanted = ("index", "gather", "scatter", "im2col", "col2im", "arange", "eye", "alias", "flip")
    for node in made.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            assert value.dim() <= 4, node
        if node.op != "call_function":
            continue
        operator = str(node.target)
        assert not any(name in operator for name in unwanted), node
        if "convolution" in operator or "conv2d" in operator:
            assert node.args[1].op == "placeholder", "a kernel that is computed"
