"""AOT-GAN against the original: its keys, whole runs and single blocks.

The golden files hold what github.com/researchmm/AOT-GAN-for-Inpainting at 2cd1afd8fdfa gave with
seeded weights (torch 2.13 on a CPU): raw outputs and some maps at every second pixel, and small
blocks with their weights, inputs and outputs whole.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from rethined_export.models.aot_gan import (
    PRESETS,
    STAND_IN_GAIN,
    AotBlock,
    AotGan,
    AotGanConfig,
    AotGanInpainter,
    Enlarge,
    native_input,
    standardise,
)
from rethined_export.models.seeded import seed_weights
from tests.migan_scenes import pattern
from tests.watching import watched

GOLDEN = Path(__file__).parents[1] / "golden"
#: Absolute, of an output 0.65 wide. The original is 3.7e-5 from itself in float64, as its gate
#: divides by small deviations; the population's deviation for the sample's moves it by 6.9e-3.
TOLERANCE = 5e-5


@cache
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "aot-gan.npz") as file:
        return dict(file)


@cache
def seeded() -> AotGan:
    """Never initialised: that would take longer than to run it."""
    with torch.device("meta"):
        model = AotGan(PRESETS["published"])
    model = model.to_empty(device="cpu").eval().requires_grad_(False)
    seed_weights(model, STAND_IN_GAIN)
    return model


def scene(case: int) -> tuple[Tensor, Tensor]:
    """Image in [0, 1] and mask, 1 = hole."""
    height, width = map(int, golden()[f"size_{case}"])
    picture = pattern(height, width, case, int(golden()[f"crc_{case}"]))
    hole = np.unpackbits(golden()[f"mask_{case}"]).reshape(1, 1, height, width)
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    return image, torch.from_numpy(hole).float()


def test_keys_are_the_checkpoints():
    with torch.device("meta"):
        model = AotGan(PRESETS["published"])
    keys = {key: list(value.shape) for key, value in model.state_dict().items()}
    expected = json.loads((GOLDEN / "aot-gan.json").read_text())
    assert keys == expected
    assert list(keys) == list(expected)
    assert sum(parameter.numel() for parameter in model.parameters()) == 15_200_835


@pytest.mark.parametrize("case", [0, 1])
def test_output_is_the_originals(case):
    image, mask = scene(case)
    raw = seeded()(native_input(image, mask))[0].numpy()
    assert np.abs(raw[:, ::2, ::2] - golden()[f"raw_{case}"]).max() <= TOLERANCE
    least, most = golden()[f"range_{case}"]
    assert abs(raw.min() - least) <= TOLERANCE
    assert abs(raw.max() - most) <= TOLERANCE


def test_maps_are_the_originals():
    """A mistake is found where it is made."""
    names = [name.removeprefix("map/") for name in golden() if name.startswith("map/")]
    with watched(seeded(), names) as made:
        seeded()(native_input(*scene(0)))
    assert len(made) == 3
    for name, values in made.items():
        expected = golden()[f"map/{name}"]
        apart = np.abs(values[0, :8, ::2, ::2].numpy() - expected).max()
        assert apart <= TOLERANCE * np.ptp(expected), name


def unit(name: str) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """A block's stored weights by key, input and output."""
    prefix = f"unit/{name}/"
    stored = {
        key.removeprefix(prefix): torch.from_numpy(value)
        for key, value in golden().items()
        if key.startswith(prefix)
    }
    weights = {k.removeprefix("w/"): v for k, v in stored.items() if k.startswith("w/")}
    return weights, stored["x"], stored["y"]


@pytest.mark.parametrize(
    ("name", "block"), [("aot_block", AotBlock(16, (1, 2, 4, 8))), ("upconv", Enlarge(8, 4))]
)
@torch.no_grad()
def test_block_is_the_originals(name, block):
    weights, x, y = unit(name)
    block.load_state_dict(weights)
    # Sums of at most 144 products below 1, and a gate of slope 10 at most over a deviation near 1.
    assert (block(x) - y).abs().max() <= 1e-5


def test_gate_is_standardised_as_the_originals():
    """One map is constant: its gate is closed alike everywhere, at -5."""
    _, x, y = unit("layer_norm")
    assert (standardise(x) - y).abs().max() <= 1e-5 * (y.max() - y.min())
    assert (y[:, 4] == -5).all()


def narrow() -> AotGan:
    model = AotGan(AotGanConfig("narrow", blocks=2, width=8)).eval().requires_grad_(False)
    seed_weights(model, STAND_IN_GAIN)
    return model


def test_known_pixels_come_back_bit_for_bit_and_the_hole_is_not_looked_at():
    inpaint, draw = AotGanInpainter(narrow()), torch.Generator().manual_seed(1)
    image, other = torch.rand(2, 1, 3, 40, 48, generator=draw)
    mask = (torch.rand(1, 1, 40, 48, generator=draw) < 0.5).float()
    filled = inpaint(image, mask)
    known = (mask == 0).expand_as(image)
    assert torch.equal(filled[known], image[known])
    assert not torch.isclose(filled[~known], image[~known]).all()
    assert torch.equal(inpaint(torch.where(known, image, other), mask), filled)


def test_smallest_side():
    assert narrow()(torch.rand(1, 4, 36, 40)).shape == (1, 3, 36, 40)


@pytest.mark.parametrize("size", [(32, 40), (40, 32), (64, 66), (65, 64)])
def test_other_sizes_are_refused(size):
    height, width = size
    with pytest.raises(ValueError, match=rf"AOT-GAN cannot take {width}×{height}: .* from 36"):
        narrow()(torch.rand(1, 4, height, width))
