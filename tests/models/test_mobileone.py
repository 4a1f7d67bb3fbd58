"""Re-parameterisation: many branches and one convolution are the same function."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import small_config, small_model
from torch import Tensor, nn

from rethined_export.models.rethined import VARIANTS, reparameterise
from rethined_export.models.rethined.mobileone import MobileOneBlock

#: Relative to the largest activation: some hundred products a branch, each rounded to 1.2e-7.
TOLERANCE = 1e-5


def random_block(seed: int, *args: int, **options: object) -> MobileOneBlock:
    """A block whose batch norms hold random statistics, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        block = MobileOneBlock(*args, **options).eval().requires_grad_(False)
        for norm in block.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.01, 4)
                norm.weight.normal_()
                norm.bias.normal_()
    return block


def relative(actual: Tensor, expected: Tensor) -> float:
    return ((actual - expected).abs().max() / expected.abs().max().clamp(min=1e-3)).item()


@settings(deadline=None, max_examples=80)
@given(
    seed=st.integers(0, 2**31),
    channels=st.sampled_from([16, 32]),
    out=st.sampled_from([16, 32, 48]),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2]),
    depthwise=st.booleans(),
    branches=st.integers(1, 4),
    gated=st.booleans(),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
)
def test_one_convolution_equals_the_branches(
    seed, channels, out, kernel, stride, depthwise, branches, gated, height, width
):
    """With and without identity, 1×1 branch, stride, groups and squeeze-and-excitation."""
    options = {"stride": stride, "branches": branches, "squeeze_excite": gated}
    if depthwise:
        out, options["groups"] = channels, channels
    block = random_block(seed, channels, out, kernel, **options)
    assert (block.rbr_skip is not None) == (channels == out and stride == 1)
    assert (block.rbr_scale is not None) == (kernel > 1)
    x = torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(seed))
    # Before relu and gate, where a wrong sign cannot hide.
    parts = [branch(x) for branch in block.rbr_conv]
    parts += [part(x) for part in (block.rbr_scale, block.rbr_skip) if part is not None]
    expected = block(x)
    block.reparameterise()
    assert relative(block.reparam_conv(x), torch.stack(parts).sum(0)) <= TOLERANCE
    scale = torch.stack(parts).sum(0).abs().max()
    assert ((block(x) - expected).abs().max() / scale) <= TOLERANCE


@pytest.mark.parametrize("groups", [1, 2, 4, 16])
def test_identity_branch_with_groups(groups):
    """The identity kernel counts channels within their group."""
    block = random_block(groups, 16, 16, 3, groups=groups)
    x = torch.randn(1, 16, 6, 6, generator=torch.Generator().manual_seed(0))
    expected = block(x)
    block.reparameterise()
    assert relative(block(x), expected) <= TOLERANCE


def test_happens_in_place_and_drops_the_branches():
    block = random_block(0, 16, 16, 3, squeeze_excite=True)
    gate = block.se
    assert block.reparameterise() is None
    assert block.deployed
    assert block.se is gate
    keys = set(block.state_dict())
    gates = {f"se.{part}.{kind}" for part in ("reduce", "expand") for kind in ("weight", "bias")}
    assert keys == {"reparam_conv.weight", "reparam_conv.bias"} | gates
    assert block.reparam_conv.weight.dtype == torch.float32


def test_a_second_time_changes_nothing():
    block = random_block(0, 16, 32, 3)
    block.reparameterise()
    before = {name: tensor.clone() for name, tensor in block.state_dict().items()}
    block.reparameterise()
    after = block.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_deployed_block_is_built_with_the_same_names():
    block = random_block(0, 16, 32, 3, stride=2, squeeze_excite=True)
    block.reparameterise()
    built = MobileOneBlock(16, 32, 3, stride=2, squeeze_excite=True, deployed=True).eval()
    built.load_state_dict(block.state_dict(), strict=True)
    x = torch.randn(1, 16, 9, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(built(x), block(x))


@pytest.mark.parametrize("variant", VARIANTS)
def test_whole_coarse_model(variant):
    """Every block is re-parameterised, and the image stays within 1e-5."""
    model = small_model(small_config(variant))
    deployed = copy.deepcopy(model)
    reparameterise(deployed)
    blocks = [part for part in deployed.modules() if isinstance(part, MobileOneBlock)]
    assert blocks
    assert all(block.deployed for block in blocks)
    assert not [name for name in deployed.state_dict() if "rbr_" in name]
    x = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, 512, 512)
    (image, features), (expected, wanted) = (m.coarse_model(x, mask) for m in (deployed, model))
    assert (image - expected).abs().max() <= TOLERANCE
    for actual, feature in zip(features, wanted, strict=True):
        assert relative(actual, feature) <= TOLERANCE
