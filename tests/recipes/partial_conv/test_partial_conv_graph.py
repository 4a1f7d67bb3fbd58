"""The exported partial convolution network against the plain one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rethined_export.models.partial_conv import PartialConvConfig, PartialConvNet, seed_stand_in
from rethined_export.recipes.partial_conv.graph import rewritten

#: Of the output's largest value: two float32 forms of a network of five layers each way, sums of
#: up to 16·9 terms; measured 4e-7.
TOLERANCE = 1e-5


def network(layers: int, width: int = 4) -> PartialConvNet:
    model = PartialConvNet(PartialConvConfig("tiny", layers, 2**layers, width)).eval()
    seed_stand_in(model)
    return model.requires_grad_(False)


@settings(deadline=None, max_examples=40)
@given(
    layers=st.integers(1, 5),
    rows=st.integers(1, 2),
    columns=st.integers(1, 3),
    cover=st.sampled_from([0.0, 0.3, 0.9, 0.99, 1.0]),
    grey=st.booleans(),
    seed=st.integers(0, 2**31),
)
@torch.no_grad()
def test_equals_the_network(layers, rows, columns, cover, grey, seed):
    """Where nothing is known too, and for masks with soft edges, where any trace counts."""
    model, draw = network(layers), torch.Generator().manual_seed(seed)
    size = (rows * 2**layers, columns * 2**layers)
    image = torch.randn(1, 3, *size, generator=draw)
    known = (torch.rand(1, 1, *size, generator=draw) >= cover).float()
    if grey:
        known = known * torch.rand(1, 1, *size, generator=draw)
    plain, seen = model(image, known)
    made, found = rewritten(model)(image, known)
    assert torch.equal(found, seen)
    assert torch.isfinite(made).all()
    assert (made - plain).abs().max() <= TOLERANCE * plain.abs().max()


def test_the_mask_is_one_channel_and_the_kernels_of_ones_are_gone():
    model = network(5, width=8)
    made = rewritten(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in made.modules())
    learned = sum(c.conv.input_conv.weight.numel() for c in model.children())
    assert sum(parameter.numel() for parameter in made.parameters()) == learned
    ones = [value for name, value in made.named_buffers() if name.endswith("ones")]
    assert len(ones) == 10
    assert max(value.numel() for value in ones) == 49


def test_the_network_is_not_changed():
    model = network(2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    rewritten(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_other_counts_than_ones_cannot_be_rewritten():
    model = network(2)
    model.get_parameter("enc_2.conv.mask_conv.weight")[0, 0, 0, 0] = 0.5
    with pytest.raises(ValueError, match="does not hold ones"):
        rewritten(model)
