"""The context encoder against the public port: its keys, and whole runs.

The golden file holds what github.com/BoyuanJiang/context_encoder_pytorch at 01cbf96b3bcb gave with
seeded weights (torch 2.13 on a CPU): the painted centres at every second pixel, the pasted result
in 8 bits, and some maps' first channels.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from rethined_export.models.context_encoder import (
    CENTRE,
    PRESETS,
    SIDE,
    STAND_IN_GAIN,
    ContextEncoder,
    ContextEncoderConfig,
    Inpainter,
    composite,
    in_centre,
    native_input,
)
from rethined_export.models.seeded import seed_weights
from tests.watching import watched
from tests.wavy_scenes import wavy

GOLDEN = Path(__file__).parents[1] / "golden"
#: Of the output's range; a re-implementation lies 6e-7 off.
TOLERANCE = 1e-5
INNER = slice((SIDE - CENTRE) // 2, (SIDE + CENTRE) // 2)


@cache
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "context-encoder.npz") as file:
        return dict(file)


@cache
def seeded() -> ContextEncoder:
    """Never initialised: that would take longer than to run it."""
    with torch.device("meta"):
        model = ContextEncoder(PRESETS["centre"])
    model = model.to_empty(device="cpu").eval().requires_grad_(False)
    seed_weights(model, STAND_IN_GAIN)
    return model


@cache
def picture(seed: int) -> Tensor:
    made = wavy(SIDE, SIDE, seed, int(golden()[f"crc_{seed}"]))
    return torch.from_numpy(made)[None].float() / 255


def hole(rows: slice = INNER, columns: slice = INNER) -> Tensor:
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[:, :, rows, columns] = 1
    return mask


def close(made: Tensor, expected: np.ndarray) -> bool:
    return np.abs(made.numpy() - expected).max() <= TOLERANCE * np.ptp(expected)


def test_keys_are_the_checkpoints():
    with torch.device("meta"):
        model = ContextEncoder(PRESETS["centre"])
    keys = {key: list(value.shape) for key, value in model.state_dict().items()}
    expected = json.loads((GOLDEN / "context-encoder.json").read_text())
    assert keys == expected
    assert list(keys) == list(expected)
    assert sum(parameter.numel() for parameter in model.parameters()) == 71_124_544


def test_output_is_the_ports():
    """Three pictures; two of them as one batch, which must not mix."""
    first, others = (
        native_input(images, torch.zeros(len(images), 1, SIDE, SIDE))
        for images in (
            picture(0),
            torch.cat([picture(5), picture(6)]),
        )
    )
    names = [name.removeprefix("map/") for name in golden() if name.startswith("map/")]
    with watched(seeded(), names) as maps:
        made = seeded()(first)
    assert close(made[0, :, ::2, ::2], golden()["raw_0"])
    assert len(maps) == 4
    for name, values in maps.items():
        expected = golden()[f"map/{name}"]
        assert close(values[0, : len(expected)], expected), name
    both = seeded()(others)
    assert close(both[0, :, ::2, ::2], golden()["raw_5"])
    assert close(both[1, :, ::2, ::2], golden()["raw_6"])


def test_a_larger_image_gives_a_larger_centre():
    """Fully convolutional, as the port is; trained at 128 only."""
    image = torch.from_numpy(wavy(128, 160, 11, int(golden()["crc_11"])))[None].float() / 255
    assert close(seeded()(2 * image - 1)[0, :, ::2, ::2], golden()["raw_11"])


def test_result_is_the_ports_in_8_bits():
    """The port shows the network a band around the hole and paints it too. It truncates, which
    takes a level off many known pixels, and may off a painted one that is near a whole number."""
    raw = seeded()(native_input(picture(0), torch.zeros(1, 1, SIDE, SIDE)))
    filled = composite(raw, picture(0), hole())[0].permute(1, 2, 0).numpy()
    apart = np.abs(np.floor(filled * 255 + 1e-4).astype(int) - golden()["pasted_u8"].astype(int))
    assert apart.max() <= 1
    assert (apart[INNER, INNER] == 0).mean() > 0.999


def narrow() -> ContextEncoder:
    model = ContextEncoder(ContextEncoderConfig("narrow", width=4, bottleneck=20))
    seed_weights(model, STAND_IN_GAIN)
    return model.eval().requires_grad_(False)


def test_the_centre_is_blank_however_small_the_hole():
    """As in training: 56 of 64 pixels, and a hole in the band around them."""
    image = torch.ones(1, 3, SIDE, SIDE)
    fill = torch.tensor([117, 104, 123]) * 2 / 255 - 1
    small = native_input(image, hole(slice(60, 62), slice(33, 35)))
    assert torch.allclose(small[0, :, 64, 64], fill)
    assert torch.allclose(small[0, :, 36, 91], fill)
    assert (small[0, :, 35, 64] == 1).all()
    assert (small[0, :, 92, 64] == 1).all()
    assert torch.allclose(small[0, :, 61, 34], fill)
    assert torch.equal(
        native_input(image, hole(slice(40, 50), slice(40, 50))),
        native_input(image, torch.zeros(1, 1, SIDE, SIDE)),
    )


def test_known_pixels_come_back_bit_for_bit_and_the_hole_is_not_looked_at():
    inpaint, draw = Inpainter(narrow()), torch.Generator().manual_seed(1)
    image, other = torch.rand(2, 1, 3, SIDE, SIDE, generator=draw)
    mask = hole() * (torch.rand(1, 1, SIDE, SIDE, generator=draw) < 0.5)
    filled = inpaint(image, mask)
    known = (mask == 0).expand_as(image)
    assert torch.equal(filled[known], image[known])
    assert not torch.isclose(filled[~known], image[~known]).all()
    assert torch.equal(inpaint(torch.where(known, image, other), mask), filled)


def test_what_is_painted_is_set_where_it_belongs():
    raw = torch.arange(3.0 * CENTRE * CENTRE).reshape(1, 3, CENTRE, CENTRE)
    made = composite(raw, torch.zeros(1, 3, SIDE, SIDE), hole())
    assert torch.equal(made[:, :, INNER, INNER], raw * 0.5 + 0.5)
    made[:, :, INNER, INNER] = 0
    assert not made.any()


@pytest.mark.parametrize(
    ("rows", "columns", "inside"),
    [
        (INNER, INNER, True),
        (slice(50, 51), slice(32, 33), True),
        (slice(31, 40), slice(40, 50), False),
        (slice(40, 50), slice(90, 97), False),
        (slice(0, 0), INNER, True),
    ],
)
def test_which_holes_lie_in_the_centre(rows, columns, inside):
    assert in_centre(hole(rows, columns)) == inside
