"""DFNet against the original: its keys, whole runs, and the blocks' habits.

The golden file holds what the authors' code (github.com/hughplay/DFNet at da8913531008, torch 2.13
on a CPU) gave with seeded weights: results, shares and paint of the fusion blocks, some pixels of
each and figures of all, and a part of the composite.
"""

import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rethined_export.models.dfnet import (
    PRESETS,
    STAND_IN_GAIN,
    DfNet,
    DfNetInpainter,
    native_input,
)
from rethined_export.models.dfnet.unet import Convolution, Decode
from rethined_export.models.seeded import seed_weights
from tests.waves import waves

GOLDEN = Path(__file__).parents[1] / "golden"
#: Of the output's range. The smallest mistake that was tried, the norms' epsilon 1e-3 for 1e-5,
#: moves the output by 2e-3 of it.
TOLERANCE = 1e-5


@cache
def seeded() -> DfNet:
    """Seeded weights, never initialised: that would take longer than to run it."""
    with torch.device("meta"):
        model = DfNet()
    model = model.to_empty(device="cpu").eval().requires_grad_(False)
    seed_weights(model, STAND_IN_GAIN)
    return model


@cache
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "dfnet.npz") as stored:
        return dict(stored)


def scene(case: int) -> tuple[Tensor, Tensor]:
    """Image in [0, 1] in the channel order that the network was given, and mask, 1 = hole."""
    seed, crc = (int(golden()[f"{case}/{name}"]) for name in ("seed", "crc"))
    height, width = map(int, golden()[f"{case}/size"])
    hole = np.unpackbits(golden()[f"{case}/hole"]).reshape(1, 1, height, width)
    picture = torch.from_numpy(waves(height, width, seed, crc))[None].float() / 255
    return picture, torch.from_numpy(hole).float()


def test_keys_are_the_checkpoints():
    with torch.device("meta"):
        keys = {key: list(value.shape) for key, value in DfNet().state_dict().items()}
    expected = json.loads((GOLDEN / "dfnet.json").read_text())
    assert keys == expected
    assert list(keys) == list(expected)


@pytest.mark.parametrize("case", [0, 1])
def test_output_is_the_originals(case):
    """Every scale and the composite; a square image, and one twice as wide as it is high."""
    (image, mask), inpaint, calls = scene(case), DfNetInpainter(seeded()), []
    hook = inpaint.network.register_forward_hook(lambda *call: calls.append(call[2]))
    filled = inpaint(image.flip(1), mask).flip(1)
    hook.remove()
    [levels] = calls
    assert [made.raw.shape[3] for made in levels] == [image.shape[3] >> k for k in range(6)]
    compared = 0
    for level, made in enumerate(levels):
        for name, tensor in made._asdict().items():
            if f"{case}/{name}_{level}" in golden():
                assert_golden(f"{case}/{name}_{level}", tensor[0].numpy())
                compared += 1
    assert compared == (18, 5)[case]
    part = (slice(64, 112), slice(40, 88))
    if case == 0:
        assert 0.2 < mask[0, 0][part].mean() < 0.8
        assert np.abs(filled[0].numpy()[:, *part] - golden()["0/composite"]).max() <= TOLERANCE


def assert_golden(key: str, values: np.ndarray) -> None:
    """Every so many pixels, and figures of all."""
    step = int(golden()[f"{key}/step"])
    least, most, mean, spread = golden()[f"{key}/facts"]
    bound = TOLERANCE * (most - least)
    assert np.abs(values[:, ::step, ::step] - golden()[key]).max() <= bound, key
    assert abs(values.mean(dtype=np.float64) - mean) <= bound
    assert abs(values.std(dtype=np.float64) - spread) <= bound


# --- What is easily got wrong ---------------------------------------------------------------------


def small() -> DfNet:
    model = DfNet((6, 5, 7, 8, 4, 4, 5, 6)).eval().requires_grad_(False)
    seed_weights(model, STAND_IN_GAIN)
    return model


def random_scene(height: int, width: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(height + width)
    image = torch.rand(1, 3, height, width, generator=draw)
    return image, (torch.rand(1, 1, height, width, generator=draw) < 0.4).float()


def test_known_pixels_come_back_bit_for_bit_and_the_hole_is_not_looked_at():
    inpaint, (image, mask) = DfNetInpainter(small()), random_scene(256, 512)
    filled = inpaint(image, mask)
    known = (mask == 0).expand_as(image)
    assert torch.equal(filled[known], image[known])
    assert not torch.isclose(filled[~known], image[~known]).all()
    hidden = torch.where(known, image, 1 - image)
    assert torch.equal(inpaint(hidden, mask), filled)


def test_network_sees_blue_first_and_what_is_known():
    image, mask = random_scene(256, 256)
    seen = native_input(image, mask)
    known = mask[0, 0] == 0
    assert torch.equal(seen[0, 0][known], image[0, 2][known])
    assert torch.equal(seen[0, 2][known], image[0, 0][known])
    assert (seen[0, :3, ~known] == 0).all()
    assert torch.equal(seen[0, 3], known.float())


@pytest.mark.parametrize(("kernel", "before", "after"), [(7, 2, 3), (5, 1, 2), (3, 0, 1)])
def test_halving_sees_more_zeros_to_the_right_and_below(kernel, before, after):
    layer = Convolution(2, 3, kernel, stride=2)
    conv = layer.conv[1]
    x = torch.rand(1, 2, 12, 16, generator=torch.Generator().manual_seed(kernel))
    padded = F.pad(x, (before, after, before, after))
    # A sum of up to 98 products of numbers below 1 in another order.
    expected = F.conv2d(padded, conv.weight, conv.bias, stride=2)
    assert layer(x).shape == (1, 3, 6, 8)
    assert (layer(x) - expected).abs().max() <= 1e-5


def test_decoder_puts_what_it_enlarged_before_what_it_joins():
    layer = Decode(2, 1).eval()
    layer.decode[0].conv.weight.data.zero_()
    layer.decode[0].conv.weight.data[0, :, 1, 1] = torch.tensor([1.0, 10.0, 100.0])
    layer.decode[0].conv.bias.data.zero_()
    x = torch.arange(8.0).reshape(1, 2, 2, 2)
    made = layer(x, torch.full((1, 1, 4, 4), 3.0))[0, 0]
    expected = torch.tensor([[0, 1], [2, 3]]).repeat_interleave(2, 0).repeat_interleave(2, 1)
    expected = expected + 10 * (expected + 4) + 300
    # A norm of 0 and 1 divides by √(1 + 1e-5).
    assert torch.allclose(made, expected / (1 + 1e-5) ** 0.5)


@pytest.mark.parametrize(("height", "width"), [(333, 500), (256, 384), (128, 256), (0, 256)])
def test_other_sizes_are_refused(height, width):
    message = re.escape(f"cannot take {width}×{height}: sides are multiples of 256")
    with pytest.raises(ValueError, match=message):
        small()(torch.rand(1, 4, height, width))


def test_presets_are_one_network_trained_at_two_sizes():
    assert {name: config.side for name, config in PRESETS.items()} == {
        "places2": 512,
        "celeba": 256,
    }
    assert all(name == config.preset for name, config in PRESETS.items())
