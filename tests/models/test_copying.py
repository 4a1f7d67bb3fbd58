"""The copying network: its blocks folded, what it copies, which weights and settings it takes."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from forks import golden
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rethined_export.models.rethined import reparameterise
from rethined_export.models.rethined.attention import FORBIDDEN
from rethined_export.models.rethined.copying import (
    CopyConfig,
    CopyModel,
    unsupported,
    untrained_copy,
)
from rethined_export.models.rethined.copying.coarse import ResidualBlock
from rethined_export.models.rethined.derive import CheckpointError, from_tensors
from rethined_export.models.rethined.filters import unfold

SMALL = CopyConfig(widths=(8, 12, 16, 20, 24), head=6, d_k=32)
EPS = torch.finfo(torch.float32).eps


def noise(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model() -> CopyModel:
    return untrained_copy(SMALL)


@settings(deadline=None, max_examples=40)
@given(
    channels=st.integers(1, 6),
    out=st.integers(1, 6),
    stride=st.sampled_from([1, 2]),
    seed=st.integers(0, 2**31),
)
def test_a_folded_block_computes_the_same(channels, out, stride, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        block = ResidualBlock(channels, out, stride).eval().requires_grad_(False)
        for norm in block.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2)
    x = noise(seed, 1, channels, 9, 7) - 0.5
    expected = block(x)
    block.reparameterise()
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in block.modules())
    actual = block(x)
    # Sums of some 30 terms, each at most as large as the sum of all.
    assert (actual - expected).abs().max() <= 60 * EPS * (1 + expected.abs().max())


def test_re_parameterising_keeps_the_image(model):
    image, mask = noise(0, 1, 3, 512, 512), torch.zeros(1, 1, 512, 512)
    mask[:, :, 100:200, 90:300] = 1
    deployed = copy.deepcopy(model)
    reparameterise(deployed)
    with torch.no_grad():
        before = model(image, mask)
        after = deployed(image, mask, indices=before.indices)
    assert (after.output - before.output).abs().max() <= 1e-5
    assert (after.coarse - before.coarse).abs().max() <= 1e-5


@pytest.mark.parametrize("scale", [1, 2])
def test_known_pixels_come_back_bit_for_bit(model, scale):
    image = noise(1, 1, 3, 512 * scale, 512 * scale)
    mask = torch.zeros(1, 1, 512 * scale, 512 * scale)
    mask[:, :, 37:251, 90:303] = 1
    with torch.no_grad():
        output = model(image, mask).output
    known = mask.expand_as(image) == 0
    assert torch.equal(output[known], image[known])
    assert (output - image)[~known].abs().mean() > 0.01


def test_hole_tokens_copy_whole_patches(model):
    """Without the coherence layer x̂_LR is patches of the photo, the chosen ones."""
    plain = copy.deepcopy(model)
    plain.inpainter.coherence_layer.weight.zero_()
    plain.inpainter.coherence_layer.bias.zero_()
    image, mask = noise(2, 1, 3, 512, 512), torch.zeros(1, 1, 512, 512)
    mask[:, :, 64:128, 64:160] = 1
    with torch.no_grad():
        made = plain(image, mask)
    hole, keys = made.hole > 0, made.indices[:, 0]
    assert hole.sum() == 8 * 12
    patches = unfold(image, 8)
    assert torch.equal(unfold(made.low, 8)[hole], patches[keys[hole]])
    assert torch.equal(unfold(made.low, 8)[~hole], patches[~hole])
    assert (made.hole[keys] == 0).all(), "a hole token copied another"
    assert (made.scores[hole] >= FORBIDDEN - 2).all() and made.scores.max() <= 2 + 1e-5


def test_a_hole_over_everything_keeps_its_own_patches(model):
    image, mask = noise(3, 1, 3, 1024, 1024), torch.ones(1, 1, 1024, 1024)
    with torch.no_grad():
        made = model(image, mask)
    values = model.downsample(image, mask, 2)[1]
    expected = values + model.inpainter.coherence_layer(values)
    assert (made.low - expected).abs().max() <= 1e-6


def test_no_detail_is_copied_between_patches_of_the_hole(model):
    """A key that m_LR calls known, but that the hole touches between its samples, gives nothing."""
    image, mask = noise(4, 1, 3, 1024, 1024), torch.zeros(1, 1, 1024, 1024)
    mask[:, :, 160:320, 160:320] = 1
    mask[:, :, 1::2] = 1  # rows between the samples: every token is touched
    with torch.no_grad():
        made = model(image, mask)
        assert 0 < made.hole.sum() < len(made.hole)
        base = torch.nn.functional.interpolate(
            made.low.clamp(0, 1), scale_factor=2, mode="bicubic", align_corners=False
        )
    expected = (mask * base + (1 - mask) * image).clamp(0, 1)
    assert (made.output - expected).abs().max() <= 1e-6


def test_doubles_run_through_everything(model):
    """What rounding adds can be measured: weights and images in float64, an image in float64."""
    image, mask = noise(6, 1, 3, 1024, 1024), torch.zeros(1, 1, 1024, 1024)
    mask[:, :, 100:300, 50:250] = 1
    with torch.no_grad():
        single = model(image, mask)
        precise = copy.deepcopy(model).double()
        exact = precise(image.double(), mask.double(), indices=single.indices)
    assert exact.output.dtype == exact.scores.dtype == torch.float64
    assert 0 < (single.output - exact.output).abs().max() <= 1e-5


@pytest.mark.parametrize("top_k", [2, 4])
def test_more_keys_are_refused(model, top_k):
    image, mask = noise(5, 1, 3, 512, 512), torch.zeros(1, 1, 512, 512)
    with pytest.raises(ValueError, match="only k = 1"):
        model(image, mask, top_k=top_k)


# --- Weights and settings ---------------------------------------------------------------------


@pytest.fixture
def state(model) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def refusal(state: dict[str, Tensor], config: dict[str, Any] | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        from_tensors(state, variant="copy", config=config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_shapes_are_read_off_the_weights(model, state):
    extras = {
        f"inpainter.encoder_decoder.{name.removeprefix('coarse_model.')}": tensor
        for name, tensor in state.items()
        if name.startswith("coarse_model.")
    }
    extras |= {f"hr_upscaler.patch_inpainting.{name}": state[name] for name in state}
    extras["inpainter.multihead_attention.w_vs.weight"] = torch.zeros(192, 192)
    extras["inpainter.multihead_attention.fc.weight"] = torch.zeros(192, 192)
    extras["inpainter.final_gaussian_blur.kernel_h"] = torch.zeros(1, 1, 1, 7)
    made = from_tensors(state | extras, variant="copy")
    assert made.model.config == SMALL
    assert any(line.startswith("widths = (8, 12, 16, 20, 24)") for line in made.derived)
    assert "no config" in made.notes[0]
    loaded = made.model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_keys_of_the_repository_are_all_there_is():
    """The real network's names and shapes, without its numbers."""
    shapes = golden("copy").keys
    expected = {name: tuple(tensor.shape) for name, tensor in CopyModel().state_dict().items()}
    unused = {name for name in shapes if "w_vs" in name or ".fc." in name or "gaussian" in name}
    assert {name: shape for name, shape in shapes.items() if name not in unused} == expected


def config(**settings: object) -> dict[str, Any]:
    return {"model": {"inpainter": settings}, "training": {"lr": 1e-3}}


def test_the_temperature_is_read_and_changes_no_choice(state):
    made = from_tensors(state, variant="copy", config=config(attention_temperature=0.25))
    assert made.model.config == replace(SMALL, temperature=0.25)
    assert made.notes == ()


@pytest.mark.parametrize(
    "name,value",
    [
        ("value_patch_size", 16),
        ("attention_eval_selection", "softmax"),
        ("attention_normalize_qk", False),
        ("use_transport", True),
        ("use_positional_encoding", True),
        ("matching_descriptor_dim", 256),
        ("separate_query_key_matching", True),
        ("match_coarse_rgb", False),
        ("concat_features", False),
        ("final_conv", False),
        ("image_size", 256),
        ("kernel_size", 16),
        ("nheads", 2),
    ],
)
def test_other_settings_are_refused_by_name(state, name, value):
    message = refusal(state, config(**{name: value}))
    assert f"model.inpainter.{name} is {value!r}" in message


@pytest.mark.parametrize("value", ["hot", [], {}, True, 0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_none_is_refused(state, value):
    message = refusal(state, config(attention_temperature=value))
    assert "model.inpainter.attention_temperature is " in message


def test_settings_that_change_nothing_are_accepted():
    assert unsupported(config(attention_top_k=32, dropout=0.5, transport_refine_steps=3)) is None
    assert unsupported({}) is None
    assert unsupported({"model": {"inpainter": None}}) is None


def test_plain_blocks_are_refused_by_name(state):
    plain = {"model": {"coarse_model": {"use_rep_blocks": False}}}
    assert "model.coarse_model.use_rep_blocks is False" in refusal(state, plain)


def test_parts_that_are_not_supported_are_named(state):
    state["inpainter.transport_head.weight"] = torch.zeros(2, 2)
    assert "unexpected: inpainter.transport_head.weight" in refusal(state)


@pytest.mark.parametrize(
    "name", ["coarse_model.stage0.down.pointwise.weight", "coarse_model.out_conv.weight"]
)
def test_keys_the_shapes_are_read_off(state, name):
    del state[name]
    assert f"{name} is missing" in refusal(state)


def test_another_forks_weights_are_told(state):
    with pytest.raises(CheckpointError, match="--variant copy"):
        from_tensors(state, variant="published")
