"""The partial convolution network against the public port: its keys, whole runs and single layers.

The golden files hold what github.com/naoto0804/pytorch-inpainting-with-partial-conv at 8d64e7ec5710
gave with seeded weights (torch 2.13 on a CPU): raw outputs at every third pixel, some maps' first
channels, and small layers whole. In case 2 all but a corner of 6×6 pixels is hole.
"""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rethined_export.models.partial_conv import (
    MEAN,
    PRESETS,
    STD,
    Inpainter,
    PartialConv,
    PartialConvConfig,
    PartialConvNet,
    constant_keys,
    reached,
    seed_stand_in,
)
from tests.watching import watched
from tests.wavy_scenes import wavy

GOLDEN = Path(__file__).parents[1] / "golden"
#: Of the output's range. A re-implementation lies 4e-7 off; dividing by all taps instead of the
#: known ones, or leaving the mask out of one layer, moves the output by a tenth and more.
TOLERANCE = 1e-5


@cache
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "partial-conv.npz") as file:
        return dict(file)


@cache
def seeded() -> PartialConvNet:
    """Of seven layers, never initialised: that would take longer than to run it."""
    with torch.device("meta"):
        model = PartialConvNet(PRESETS["256"])
    model = model.to_empty(device="cpu").eval().requires_grad_(False)
    for key in constant_keys(model):
        model.get_parameter(key).fill_(1)
    seed_stand_in(model)
    return model


def scene(case: int) -> tuple[Tensor, Tensor]:
    """Image in [0, 1] and mask, 1 = hole."""
    height, width = map(int, golden()[f"size_{case}"])
    picture = wavy(height, width, int(golden()[f"seed_{case}"]), int(golden()[f"crc_{case}"]))
    hole = np.unpackbits(golden()[f"hole_{case}"]).reshape(1, 1, height, width)
    return torch.from_numpy(picture)[None].float() / 255, torch.from_numpy(hole).float()


def colours(image: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    return (image - mean) / std


def tiny(layers: int) -> PartialConvNet:
    model = PartialConvNet(PartialConvConfig("tiny", layers, 2**layers, width=4)).eval()
    seed_stand_in(model)
    return model.requires_grad_(False)


@pytest.mark.parametrize("preset", PRESETS)
def test_keys_are_the_checkpoints(preset):
    with torch.device("meta"):
        model = PartialConvNet(PRESETS[preset])
    keys = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert keys == json.loads((GOLDEN / f"partial-conv-{preset}.json").read_text())


@pytest.mark.parametrize("case", [0, 1, 2])
@torch.no_grad()
def test_output_is_the_ports(case):
    image, mask = scene(case)
    least, most = golden()[f"range_{case}"]
    made, seen = seeded()(colours(image), 1 - mask)
    expected = golden()[f"raw_{case}"]
    assert np.abs(made[0, :, ::3, ::3].numpy() - expected).max() <= TOLERANCE * (most - least)
    assert seen.min() == 1


@torch.no_grad()
def test_maps_are_the_ports():
    """What one layer gives is another's input: a mistake is found where it is made."""
    image, mask = scene(0)
    with watched(seeded(), ("enc_3", "enc_7.conv", "dec_7")) as made:
        seeded()(colours(image), 1 - mask)
    assert len(made) == 3
    for name, (values, _) in made.items():
        expected = golden()[f"mid/{name}"]
        assert np.abs(values[0, :16].numpy() - expected).max() <= TOLERANCE * np.ptp(expected), name


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
@torch.no_grad()
def test_layer_is_the_ports(stride, bias):
    """On a map of 7×9 whose channels are known at different places."""
    stored = {key: torch.from_numpy(value) for key, value in golden().items() if "layer/" in key}
    layer = PartialConv(4, 6, 3, stride, bias)
    layer.input_conv.weight.copy_(stored["layer/weight"])
    if layer.input_conv.bias is not None:
        layer.input_conv.bias.copy_(stored["layer/bias"])
    made, known = layer(stored["layer/x"], stored["layer/mask4"])
    # Sums of at most 36 products below 2 over a count: 1e-5 is far above their rounding.
    assert (made - stored[f"layer/port_s{stride}_b{bias:d}_out"]).abs().max() <= 1e-5
    assert torch.equal(known, stored[f"layer/port_s{stride}_b{bias:d}_mask"])


@torch.no_grad()
def test_nothing_known_gives_nothing():
    """Also where there is a bias, and no number that is not finite."""
    layer = PartialConv(2, 3, 3, bias=True)
    made, known = layer(torch.ones(1, 2, 4, 4), torch.zeros(1, 2, 4, 4))
    assert not made.any()
    assert not known.any()


@settings(deadline=None, max_examples=60)
@given(
    layers=st.integers(1, 4),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    cover=st.sampled_from([0.5, 0.9, 0.99, 1.0]),
    seed=st.integers(0, 2**31),
)
@torch.no_grad()
def test_reach_is_the_networks_own_mask(layers, rows, columns, cover, seed):
    model = tiny(layers)
    draw = torch.Generator().manual_seed(seed)
    size = (rows * 2**layers, columns * 2**layers)
    known = (torch.rand(1, 1, *size, generator=draw) >= cover).float()
    _, seen = model(torch.zeros(1, 3, *size), known)
    assert torch.equal(reached(model.config, known), seen)


@torch.no_grad()
def test_known_pixels_come_back_bit_for_bit_and_the_hole_is_not_looked_at():
    inpaint = Inpainter(tiny(3))
    draw = torch.Generator().manual_seed(1)
    image, other = torch.rand(2, 1, 3, 32, 24, generator=draw)
    mask = (torch.rand(1, 1, 32, 24, generator=draw) < 0.5).float()
    filled = inpaint(image, mask)
    known = (mask == 0).expand_as(image)
    assert torch.equal(filled[known], image[known])
    assert not torch.isclose(filled[~known], image[~known]).all()
    assert torch.equal(inpaint(torch.where(known, image, other), mask), filled)


@torch.no_grad()
def test_inpainter_speaks_of_colours_in_0_to_1():
    image, mask = scene(0)
    painted = golden()["raw_0"] * np.array(STD)[:, None, None] + np.array(MEAN)[:, None, None]
    filled = Inpainter(seeded())(image, mask)[0, :, ::3, ::3].numpy()
    hole = mask[0, 0, ::3, ::3].numpy() > 0
    assert np.abs(filled - painted)[:, hole].max() <= TOLERANCE * np.ptp(painted)


@pytest.mark.parametrize(("preset", "size"), [("256", (192, 128)), ("512", (128, 256))])
def test_other_sizes_are_refused(preset, size):
    model = tiny(3)
    model.config = replace(PRESETS[preset], width=4)
    with pytest.raises(ValueError, match=f"multiples of {PRESETS[preset].multiple}"):
        model(torch.zeros(1, 3, *size), torch.ones(1, 1, *size))
