"""LaMa against the original: its keys, whole runs and single blocks.

The golden files hold what the authors' code (github.com/advimman/lama at 786f5936b27f, torch 2.13
on a CPU) gave with seeded weights: raw outputs at every second pixel, composites at every third,
and small blocks with their weights, inputs and outputs whole.
"""

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rethined_export.models.lama import (
    PRESETS,
    FourierBlock,
    FourierLayer,
    FourierUnit,
    Inpainter,
    Lama,
    MultiDilatedConvolution,
    SpectralTransform,
)
from rethined_export.models.lama.fourier import Paths
from rethined_export.models.seeded import seed_weights

GOLDEN = Path(__file__).parents[1] / "golden"
#: Of the output's range. float32 lies 1.3e-6 from float64 at most; the smallest mistake that was
#: tried (batch norm's epsilon 1e-3 for 1e-5) moves the output by 2e-3.
TOLERANCE = 1e-5


def seeded_lama(preset: str) -> Lama:
    """A network with seeded weights, never initialised: that would take longer than to run it."""
    with torch.device("meta"):
        model = Lama(PRESETS[preset])
    model = model.to_empty(device="cpu").eval()
    seed_weights(model, model.config.gain)
    return model


def golden_case(preset: str, case: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Image, mask, and every second pixel of the raw output, every third of the composite."""
    with np.load(GOLDEN / f"lama-{preset}.npz") as file:
        image = torch.from_numpy(file[f"image_u8_{case}"]).permute(2, 0, 1)[None].float() / 255
        mask = torch.from_numpy(file[f"mask_u8_{case}"])[None, None].float()
        return (
            image,
            mask,
            torch.from_numpy(file[f"raw_{case}"]),
            torch.from_numpy(file[f"composite_{case}"]),
        )


def assert_close(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    scale = (expected.max() - expected.min()).item()
    assert (actual - expected).abs().max().item() <= TOLERANCE * scale


@pytest.mark.parametrize("preset", PRESETS)
def test_keys_are_the_checkpoints(preset):
    with torch.device("meta"):
        keys = {key: list(value.shape) for key, value in Lama(PRESETS[preset]).state_dict().items()}
    expected = json.loads((GOLDEN / f"lama-{preset}.json").read_text())
    assert keys == expected
    assert list(keys) == list(expected)


@pytest.mark.parametrize(
    ("preset", "cases"),
    [("big", [1]), ("fourier", [0, 1]), ("dilated", [0, 1]), ("regular", [0, 1])],
)
@torch.no_grad()
def test_output_is_the_originals(preset, cases):
    inpaint, painted = Inpainter(seeded_lama(preset)), []
    inpaint.lama.register_forward_hook(lambda *call: painted.append(call[2]))
    for case in cases:
        image, mask, raw, composite = golden_case(preset, case)
        filled = inpaint(image, mask)
        assert_close(painted[-1][:, :, ::2, ::2], raw)
        assert_close(filled[:, :, ::3, ::3], composite)


@cache
def units() -> dict[str, Tensor]:
    with np.load(GOLDEN / "lama-units.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def with_golden_weights(block: nn.Module, name: str) -> nn.Module:
    prefix = f"{name}/w/"
    weights = {k.removeprefix(prefix): v for k, v in units().items() if k.startswith(prefix)}
    missing, unexpected = block.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    return block.eval()


@pytest.mark.parametrize("size", ["8x12", "9x11", "8x11", "9x12"])
@torch.no_grad()
def test_fourier_unit(size):
    unit = with_golden_weights(FourierUnit(6), "fourier_unit")
    golden = units()
    assert_close(unit(golden[f"fourier_unit/x_{size}"]), golden[f"fourier_unit/y_{size}"])


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("spectral_transform", SpectralTransform(12, 16)),
        ("multidilated", MultiDilatedConvolution(16)),
    ],
)
@torch.no_grad()
def test_block_of_one_tensor(name, block):
    block = with_golden_weights(block, name)
    assert_close(block(units()[f"{name}/x"]), units()[f"{name}/y"])


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("ffc_bn_act", FourierLayer((4, 12), (4, 12))),
        ("ffc_down_split", FourierLayer((6, 0), (2, 6), stride=2)),
        ("ffc_resnet_block", FourierBlock((4, 12))),
    ],
)
@torch.no_grad()
def test_block_of_two_paths(name, block):
    golden = units()
    if f"{name}/x" in golden:
        paths = Paths(golden[f"{name}/x"], None)
    else:
        paths = Paths(golden[f"{name}/x_local"], golden[f"{name}/x_global"])
    near, far = with_golden_weights(block, name)(paths)
    assert_close(near, golden[f"{name}/y_local"])
    assert_close(far, golden[f"{name}/y_global"])


def small(preset: str) -> Lama:
    torch.manual_seed(0)
    return Lama(replace(PRESETS[preset], width=8, blocks=1)).eval()


@torch.no_grad()
def test_known_pixels_come_back_bit_for_bit_and_the_hole_is_not_looked_at():
    inpaint = Inpainter(small("fourier"))
    draw = torch.Generator().manual_seed(1)
    image, other = torch.rand(2, 1, 3, 64, 48, generator=draw)
    mask = (torch.rand(1, 1, 64, 48, generator=draw) < 0.5).float()
    filled = inpaint(image, mask)
    known = (mask == 0).expand_as(image)
    assert torch.equal(filled[known], image[known])
    assert not torch.isclose(filled[~known], image[~known]).all()
    assert torch.equal(inpaint(torch.where(known, image, other), mask), filled)


@pytest.mark.parametrize(("preset", "side"), [("fourier", 16), ("regular", 16), ("dilated", 72)])
@torch.no_grad()
def test_smallest_side(preset, side):
    model = small(preset)
    assert model.config.smallest_side == side
    assert model(torch.rand(1, 4, side, side + 8)).shape == (1, 3, side, side + 8)


@pytest.mark.parametrize(
    ("preset", "height", "width"),
    [
        ("fourier", 100, 64),
        ("big", 64, 12),
        ("fourier", 8, 64),
        ("regular", 8, 8),
        ("dilated", 64, 72),
    ],
)
def test_other_sizes_are_refused(preset, height, width):
    model = small(preset)
    message = re.escape(f"LaMa ({preset}) cannot take {width}×{height}")
    with pytest.raises(ValueError, match=message):
        model(torch.rand(1, 4, height, width))
