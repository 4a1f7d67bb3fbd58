"""DeepFill against its ports: their keys, whole runs, and attention and padding by themselves.

The golden files hold what the ports' own code gave with seeded weights: github.com/nipponjo/
deepfillv2-pytorch at 4899fd38a9eb, open-mmlab/mmagic at 0a560bba9b79 and daa233/
generative-inpainting-pytorch at c6cdaea0427b, torch 2.13 on a CPU. Images are kept at every fourth
pixel and whole around the centre, attention's outputs at every second channel.
"""

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from rethined_export.models.deepfill import (
    PRESETS,
    ContextualAttention,
    Deepfill,
    DeepfillInpainter,
    Layer,
    fixed_keys,
    native_input,
    reduced_places,
)
from rethined_export.models.deepfill.layers import Shape
from rethined_export.models.seeded import seed_weights
from tests.guests import narrow_deepfill
from tests.migan_scenes import pattern

GOLDEN = Path(__file__).parents[1] / "golden"
#: Of the output's range. float32 lies 3e-6 from float64 at most; the smallest mistake among the
#: ports' differences that was tried moves the output by 0.2.
TOLERANCE = 1e-5

every_preset = pytest.mark.parametrize("preset", PRESETS)


@cache
def stored(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"deepfill-{name}.npz") as file:
        return dict(file)


def seeded(model: Deepfill) -> Deepfill:
    seed_weights(model, model.config.gain, fixed_keys(model))
    return model.eval().requires_grad_(False)


def bare(preset: str) -> Deepfill:
    """Never initialised, which would take longer than to run it."""
    with torch.device("meta"):
        model = Deepfill(PRESETS[preset])
    model = model.to_empty(device="cpu")
    model.attention.get_buffer(model.attention.kernel_name).copy_(torch.eye(3))
    return model


def scene(case: int) -> tuple[Tensor, Tensor]:
    """Image in [0, 1] and mask, 1 = hole."""
    scenes = stored("scenes")
    height, width = map(int, scenes[f"size{case}"])
    picture = pattern(height, width, case, int(scenes[f"crc{case}"]))
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    hole = np.unpackbits(scenes[f"mask{case}"]).reshape(1, 1, height, width)
    return image, torch.from_numpy(hole).float()


def assert_golden(made: Tensor, wanted: np.ndarray, span: float | None = None) -> None:
    """Within the tolerance of the output's range.

    Args:
        span: the range, where ``wanted`` does not show all of it.
    """
    assert made.shape == wanted.shape
    span = float(np.ptp(wanted)) if span is None else span
    assert np.abs(made.numpy() - wanted).max() <= TOLERANCE * span


@every_preset
def test_keys_shapes_and_buffers_are_the_checkpoints(preset):
    with torch.device("meta"):
        model = Deepfill(PRESETS[preset])
    wanted = json.loads((GOLDEN / f"deepfill-{preset}.json").read_text())
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == wanted["keys"]
    assert fixed_keys(model) == set(wanted["buffers"])
    assert sum(parameter.numel() for parameter in model.parameters()) == wanted["parameters"]


@every_preset
@pytest.mark.parametrize("case", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_output_is_the_ports(preset, case):
    model, golden, (image, mask) = seeded(bare(preset)), stored(preset), scene(case)
    # The ports were fed the picture as it is, whatever order of colours they want.
    coarse, (raw,) = model.stages(native_input(image, mask, bgr=False))
    span = float(np.ptp(golden[f"range{case}"]))
    assert_golden(coarse[0, :, ::8, ::8], golden[f"coarse{case}"])
    assert_golden(raw[:, ::4, ::4], golden[f"raw{case}"], span)
    down, right = (side // 2 - 12 for side in raw.shape[1:])
    crop = raw[:, down : down + 24, right : right + 24]
    assert_golden(crop, golden[f"crop{case}"], span)


def test_official_form_of_v2_with_fusing():
    """The authors' own code fuses, its port of the same weights does not."""
    model, (image, mask) = seeded(bare("v2-tf")), scene(1)
    model.attention.config = replace(model.attention.config, fuse=True)
    raw = model(native_input(image, mask, bgr=False))[0, :, ::4, ::4]
    assert_golden(raw, stored("v2-tf")["fused1"])


def test_inpainter_paints_the_hole_as_the_port_composites():
    image, mask = scene(0)
    filled = DeepfillInpainter(seeded(bare("v1-daa")))(image, mask)
    assert_golden((2 * filled - 1)[0, :, ::8, ::8], stored("v1-daa")["composite0"])


# --- Attention by itself --------------------------------------------------------------------------

#: Ports whose attention is stored; v1-mmagic's is that of v2-mmagic.
ATTENTIONS = [
    (preset, key)
    for preset in ("v2-tf", "v2-nipponjo", "v2-mmagic", "v1-daa")
    for key in stored(preset)
    if key.startswith("attention/y") and not key.startswith("attention/y_nomask")
]


@pytest.mark.parametrize(("preset", "key"), ATTENTIONS)
def test_attention_is_the_ports(preset, key):
    """Soft inputs have scores near 0, so that many patches win a share.

    The hole is a block, nothing, everything, or dots that leave few patches whole. Where it is
    everything mmagic's gives NaN, and ours zeros like the others.
    """
    scenes, config = stored("scenes"), PRESETS[preset].attention
    name = key.removeprefix("attention/y_")
    kind, _, fuse = name.removeprefix("soft_").partition("_fuse")
    if fuse:
        config = replace(config, fuse=fuse == "1")
    x = torch.from_numpy(scenes["attention/x_soft" if name.startswith("soft_") else "attention/x"])
    hole = np.unpackbits(scenes[f"attention/mask_{kind}"]).reshape(1, 1, 64, 96)
    made = ContextualAttention(config)(x, torch.from_numpy(hole).float())[0, ::2]
    wanted = stored(preset)[key]
    if config.excludes and kind == "all":
        assert np.isnan(wanted).all()
        wanted = np.zeros_like(wanted)
    assert_golden(made, wanted, max(float(np.ptp(wanted)), 1e-6))


@pytest.mark.parametrize("step", [2, 8])
def test_reduction_keeps_the_corners_as_tensorflow_does(step):
    golden = stored("v2-tf")
    x = torch.from_numpy(golden["down_nn/x"])
    for axis in (2, 3):
        x = x.index_select(axis, reduced_places(x.shape[axis], step, align_corners=True))
    assert torch.equal(x, torch.from_numpy(golden[f"down_nn/y{step}"]))


@pytest.mark.parametrize(
    ("name", "shape"), [("gconv_s2", Shape(6, stride=2)), ("gconv_k5", Shape(6, 5))]
)
def test_gated_convolution_is_tensorflows(name, shape):
    golden = stored("v2-tf")
    layer = Layer(4, shape, "same", "elu", gated=True)
    weights = {key: torch.from_numpy(golden[f"{name}/w/{key}"]) for key in layer.state_dict()}
    layer.load_state_dict(weights)
    with torch.no_grad():
        assert_golden(layer(torch.from_numpy(golden[f"{name}/x"])), golden[f"{name}/y"])


# --- As an inpainter ------------------------------------------------------------------------------


@every_preset
def test_known_pixels_come_back_bit_for_bit_and_the_hole_is_not_looked_at(preset):
    inpaint = narrow_deepfill(preset).model
    draw = torch.Generator().manual_seed(1)
    image, other = torch.rand(2, 1, 3, 80, 72, generator=draw)
    mask = torch.zeros(1, 1, 80, 72)
    mask[:, :, 20:50, 10:40] = 1
    filled = inpaint(image, mask)
    known = (mask == 0).expand_as(image)
    assert torch.equal(filled[known], image[known])
    assert filled[~known].std() > 0.01
    assert torch.equal(inpaint(torch.where(known, image, other), mask), filled)


@every_preset
def test_each_image_of_a_batch_has_its_own_hole(preset):
    """Which the ports but mmagic's take from the first one."""
    inpaint = narrow_deepfill(preset).model
    draw = torch.Generator().manual_seed(2)
    image, mask = torch.rand(2, 3, 72, 72, generator=draw), torch.zeros(2, 1, 72, 72)
    mask[0, :, :30, :30], mask[1, :, 40:, 20:] = 1, 1
    both = inpaint(image, mask)
    for place in (0, 1):
        alone = inpaint(image[place : place + 1], mask[place : place + 1])
        # The same sums, which a batch may add in another order.
        assert (both[place] - alone[0]).abs().max() <= TOLERANCE


@pytest.mark.parametrize("preset", ["v2-mmagic", "v1-daa"])
def test_colours_have_the_networks_order(preset):
    inpaint = narrow_deepfill(preset).model
    image, mask = torch.rand(1, 3, 72, 72), torch.zeros(1, 1, 72, 72)
    mask[:, :, 30:60, 30:60] = 1
    order = [2, 1, 0] if preset == "v2-mmagic" else [0, 1, 2]
    raw = inpaint.network(native_input(image[:, order], mask, bgr=False))[:, order]
    hole = (mask > 0).expand_as(image)
    filled = inpaint(image, mask)
    assert torch.equal(filled[hole], raw[hole] * 0.5 + 0.5)


@pytest.mark.parametrize(
    ("preset", "height", "width"),
    [("v2-tf", 100, 64), ("v1-daa", 64, 56), ("v2-mmagic", 64, 72), ("v1-mmagic", 72, 64)],
)
def test_other_sizes_are_refused(preset, height, width):
    message = re.escape(f"DeepFill ({preset}) cannot take {width}×{height}")
    with pytest.raises(ValueError, match=message):
        narrow_deepfill(preset).model.network(torch.rand(1, 5, height, width))
