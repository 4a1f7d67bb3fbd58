"""HiFill against the original: its names, a whole run, attention, and what lies around it.

The golden file holds what the author's code (github.com/duxingren14/Hifill-tensorflow at
a48a663b5cdd, TensorFlow 2.21 in its first version's ways, on a CPU) gave with seeded weights: some
pixels of results and of layers' maps, figures of all, and some rows of attention.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from rethined_export.models.hifill import (
    PRESETS,
    HiFill,
    HiFillConfig,
    HiFillInpainter,
    enlarged,
    native_input,
    painted,
    pasted,
    seed_stand_in,
)
from rethined_export.models.hifill.attention import usable
from rethined_export.models.hifill.model import Layer
from tests.guests import narrow_hifill
from tests.wavy_scenes import wavy

GOLDEN = Path(__file__).parents[1] / "golden"
#: Of the range of what is compared. The original's own coarse result is 7e-6 of its range from the
#: same network in float64, whose twenty gated layers magnify roundings, and its maps alike.
TOLERANCE, MAPS_TOLERANCE = 1e-5, 2e-5
#: What the original calls a layer after which a map was kept, where the layer itself has another
#: name.
LAYERS = {
    "re_att_64": "re_att_64_att3",
    "re_de_att_128": "re_de_att_128_2",
    "re_de_att_256": "re_de_att_256_2",
}


@cache
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "hifill.npz") as stored:
        return dict(stored)


@cache
def seeded() -> HiFill:
    model = HiFill(PRESETS["places2"]).eval().requires_grad_(False)
    seed_stand_in(model)
    return model


def scene(case: str) -> tuple[Tensor, Tensor]:
    """Image in [0, 1] and mask, 1 = hole."""
    seed, crc = (int(golden()[f"{case}/{name}"]) for name in ("seed", "crc"))
    height, width = map(int, golden()[f"{case}/size"])
    hole = np.unpackbits(golden()[f"{case}/hole"])[: height * width].reshape(1, 1, height, width)
    image = torch.from_numpy(wavy(height, width, seed, crc))[None].float() / 255
    return image, torch.from_numpy(hole).float()


def assert_golden(key: str, planes: Tensor, tolerance: float) -> None:
    """Every so many pixels, and figures of all."""
    values, step = planes.numpy(), int(golden()[f"{key}/step"])
    least, most, mean, spread = golden()[f"{key}/facts"]
    bound = tolerance * (most - least)
    assert np.abs(values[:, ::step, ::step] - golden()[key]).max() <= bound, key
    assert abs(values.mean(dtype=np.float64) - mean) <= bound
    assert abs(values.std(dtype=np.float64) - spread) <= bound


def test_keys_are_the_checkpoints():
    with torch.device("meta"):
        keys = {k: list(v.shape) for k, v in HiFill(PRESETS["places2"]).state_dict().items()}
    expected = json.loads((GOLDEN / "hifill.json").read_text())
    assert keys == expected
    assert list(keys) == list(expected)


def test_output_is_the_originals(monkeypatch):
    """All layers that were kept, attention, and what became of it."""
    model, x, maps = seeded(), native_input(*scene("whole")), {}

    def watched(layer: Layer, x: Tensor) -> Tensor:
        maps[layer.name] = HiFill.run(model, layer, x)
        return maps[layer.name]

    monkeypatch.setattr(model, "run", watched)
    hook = model.attention.register_forward_hook(
        lambda _module, _inputs, made: maps.update(contextual_attention=made[1])
    )
    raw, weights = model(x)
    hook.remove()
    assert_golden("whole/raw", raw[0], TOLERANCE)
    for key in {k.split("/")[1] for k in golden() if k.startswith("whole/") and k.count("/") == 2}:
        if key not in ("raw", "coarse"):
            made = maps[LAYERS.get(key, key)][0, :2]
            # The original's larger maps were kept at every second or fourth pixel.
            step = made.shape[1] // 64
            assert_golden(f"whole/{key}", made[:, ::step, ::step], MAPS_TOLERANCE)
    assert_golden("whole/coarse", model.coarse(x)[0], MAPS_TOLERANCE)
    rows = weights.reshape(32, 32, 1024).numpy()
    assert np.abs(rows[4::12, 4::12] - golden()["whole/attention"]).max() <= TOLERANCE
    assert np.array_equal(rows.argmax(2), golden()["whole/argmax"])


# --- What is easily got wrong ---------------------------------------------------------------------


def test_enlargement_is_tensorflows_first():
    """The first pixels lie on each other, the last one is repeated."""
    x = torch.tensor([[[[0.0, 4.0], [8.0, 16.0]]]])
    expected = torch.tensor([[0, 2, 4, 4], [4, 7, 10, 10], [8, 12, 16, 16], [8, 12, 16, 16.0]])
    assert torch.equal(enlarged(x, 2)[0, 0], expected)
    assert torch.equal(enlarged(x, 4)[0, 0, 0], torch.tensor([0, 1, 2, 3, 4, 4, 4, 4.0]))
    assert torch.equal(enlarged(x, 1), x)


def test_patches_that_overlap_are_added():
    """Ones, each patch to its own place: an inner pixel of the finer maps lies in four patches."""
    weights, x = torch.eye(16)[None], torch.ones(1, 2, 16, 16)
    summed = pasted(weights, x, patch=8, step=4, before=2)
    assert (summed[:, :, 2:14, 2:14] == 4).all()
    assert (summed[:, :, :2, :2] == 1).all()
    thirds = pasted(weights, x[:, :, :8, :8], patch=3, step=2, before=0)[0, 0]
    assert torch.equal(thirds[2], torch.tensor([2, 2, 4, 2, 4, 2, 4, 2.0]))
    assert torch.equal(thirds[0], torch.tensor([1, 1, 2, 1, 2, 1, 2, 1.0]))
    assert torch.equal(pasted(weights, x, patch=4, step=4, before=0), x)


def test_patches_move_from_columns_to_rows():
    """A row of weights says what its position is painted from."""
    weights, x = torch.zeros(1, 16, 16), torch.zeros(1, 1, 8, 8)
    weights[0, 5, 2] = 1
    x[0, 0, :2, 4:6] = torch.tensor([[1.0, 2], [3, 4]])
    moved = pasted(weights, x, patch=2, step=2, before=0)[0, 0]
    assert torch.equal(moved[2:4, 2:4], x[0, 0, :2, 4:6])
    assert moved.sum() == 10


def test_cells_beside_the_hole_are_not_copied_from():
    hole = torch.zeros(1, 1, 128, 128)
    hole[:, :, 63, 17] = 1  # in the fourth cell of rows, the second of columns
    wrong = 1 - usable(hole)[0, 0]
    assert torch.equal(wrong.nonzero()[[0, -1]], torch.tensor([[2, 0], [4, 2]]))
    assert wrong.sum() == 9
    alike = torch.zeros(1, 3, 16, 16)  # every patch has the same score, as those of a hole have
    weights = narrow_hifill().model.network.attention.weights(alike, hole)
    assert (weights[0][:, wrong.flatten() > 0] == 0).all()
    dropped = "what patches of the hole won is dropped, not shared out"
    assert torch.allclose(weights.sum(2), torch.tensor(55 / 64)), dropped


def picture(side: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(side)
    mask = torch.zeros(1, 1, side, side)
    mask[:, :, side // 3 : side // 2, side // 4 : side // 2] = 1
    return torch.rand(1, 3, side, side, generator=draw), mask


@pytest.mark.parametrize("by", [1, 2, 3])
def test_known_pixels_come_back_bit_for_bit_and_the_hole_is_not_looked_at(by):
    inpaint, (image, mask) = narrow_hifill().model, picture(256 * by)
    filled = inpaint(image, mask)
    known = (mask == 0).expand_as(image)
    assert torch.equal(filled[known], image[known])
    assert filled[~known].std() > 0.01
    assert torch.equal(inpaint(torch.where(known, image, 1 - image), mask), filled)


def test_colours_have_the_networks_order():
    inpaint, (image, mask) = narrow_hifill().model, picture(256)
    seen = native_input(image, mask)
    known = mask[0, 0] == 0
    assert torch.equal(seen[0, 0][known], (2 * image - 1)[0, 2][known])
    assert not seen[0, :3, ~known].any()
    filled = inpaint(image, mask)
    raw = inpaint.network(seen)[0]
    assert torch.equal(filled[0, 2][~known], raw[0, 0][~known] * 0.5 + 0.5)
    assert torch.equal(painted(raw)[0, 1], raw[0, 1] * 0.5 + 0.5)


def test_holes_get_the_residuals_of_what_they_are_painted_from():
    """Where the photo is flat but for a grain, grain is added to what the network painted."""
    inpaint = narrow_hifill().model
    draw = torch.Generator().manual_seed(5)
    image = 0.5 + 0.1 * torch.rand(1, 3, 512, 512, generator=draw)
    _, mask = picture(512)
    hole = (mask > 0).expand_as(image)

    def grain(made: Tensor) -> float:
        return (made - torch.roll(made, 1, 3))[hole].std().item()

    class Flat(HiFillInpainter):
        def aggregated(self, residual: Tensor, weights: Tensor, hole: Tensor) -> Tensor:
            return torch.zeros_like(residual)

    flat = Flat(inpaint.network, inpaint.config)(image, mask)
    assert grain(inpaint(image, mask)) > 1.2 * grain(flat)


@pytest.mark.parametrize(("height", "width"), [(512, 1024), (768, 768), (0, 0), (300, 200)])
def test_other_sizes_are_refused(height, width):
    model = HiFillInpainter(HiFill(HiFillConfig("places2", width=1)), PRESETS["places2"])
    with pytest.raises(ValueError, match=f"cannot take {width}×{height}: squares of a multiple"):
        model(torch.rand(1, 3, height, width), torch.zeros(1, 1, height, width))
    with pytest.raises(ValueError, match=r"HiFill takes \[B, 4, 512, 512\] only"):
        model.network(torch.rand(1, 4, 256, 256))
