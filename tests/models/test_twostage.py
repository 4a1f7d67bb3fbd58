"""The two-stage system against the original: keys, the networks, and what lies around them.

The golden file holds what the authors' code (github.com/a-mos/High_Resolution_Image_Inpainting at
5d5cba7c48f9, torch 2.13 on a CPU, OpenCV) gave with seeded weights, in 8-bit levels but for the
refinement's output: some pixels of most, checksums of what follows from the image alone.
"""

import json
import zlib
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from rethined_export.models.dfnet import STAND_IN_GAIN
from rethined_export.models.seeded import seed_weights
from rethined_export.models.twostage import (
    Letterbox,
    Refinement,
    TwoStageInpainter,
    TwoStageNetworks,
    coarse_input,
    refine_input,
    shift_of,
)
from tests.waves import waves

GOLDEN = Path(__file__).parents[1] / "golden"
#: Of the output's range, [0, 1]. The smallest mistake that was tried, a copy's emptied band 0 for 1
#: of 255, moves the refinement's output by 2e-3.
TOLERANCE = 1e-5


@cache
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "two-stage.npz") as stored:
        return dict(stored)


@cache
def networks() -> TwoStageNetworks:
    """Seeded weights, never initialised."""
    with torch.device("meta"):
        model = TwoStageNetworks()
    model = model.to_empty(device="cpu").eval().requires_grad_(False)
    seed_weights(model.coarse, STAND_IN_GAIN)
    seed_weights(model.refine, STAND_IN_GAIN)
    return model


def scene(case: int) -> tuple[Tensor, Tensor]:
    """Image in [0, 1] and mask, 1 = hole, padded with zeros to multiples of 256."""
    seed, crc = (int(golden()[f"{case}/{name}"]) for name in ("seed", "crc"))
    height, width = map(int, golden()[f"{case}/size"])
    hole = np.unpackbits(golden()[f"{case}/hole"])[: height * width].reshape(1, 1, height, width)
    image = torch.from_numpy(waves(height, width, seed, crc))[None].float() / 255
    edges = (0, -width % 256, 0, -height % 256)
    return F.pad(image, edges), F.pad(torch.from_numpy(hole).float(), edges)


def checksum(planes: Tensor) -> int:
    """Of values in [0, 1] as 8-bit levels, which they must be."""
    levels = torch.round(planes * 255)
    assert (planes * 255 - levels).abs().max() < 1e-3
    return zlib.crc32(np.ascontiguousarray(levels.byte().numpy()).tobytes())


def test_keys_are_the_checkpoints():
    with torch.device("meta"):
        keys = {key: list(value.shape) for key, value in Refinement().state_dict().items()}
    expected = json.loads((GOLDEN / "two-stage.json").read_text())
    assert keys == expected
    assert list(keys) == list(expected)


@pytest.mark.parametrize("case", [0, 1])
def test_letterbox_is_the_originals(case):
    """A square that is enlarged, and one half as high again as wide."""
    x = coarse_input(*scene(case))
    assert checksum(x[:, 3:]) == golden()[f"{case}/coarse_known_crc"]
    if case == 0:
        assert checksum(x[0, :3]) == golden()["0/coarse_image_crc"]
    box = Letterbox.of(*scene(case)[0].shape[2:])
    assert (box.height, box.width, 3) == tuple(golden()[f"{case}/low_shape"])


def test_refinement_is_the_originals():
    """With the original's own guess in the hole, to the last bits."""
    image, mask = scene(0)
    filled = image.clone()
    filled[0, :, mask[0, 0] > 0] = torch.from_numpy(golden()["0/guess"]).float() / 255
    x = refine_input(filled, mask)
    step = int(golden()["0/stacked_step"])
    levels = torch.round(x[0, 1:, ::step, ::step] * 255).byte()
    assert np.array_equal(levels.numpy(), golden()["0/stacked"])
    assert checksum(x[:, :1]) == golden()["0/mask_crc"]
    assert checksum(x[0, [7, 11, 15, 19]]) == golden()["0/masks_crc"]
    made = networks().refine(x)[0, :, ::step, ::step].numpy()
    assert np.abs(made - golden()["0/refined"]).max() <= TOLERANCE


@pytest.mark.parametrize("case", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_whole_is_within_a_grey_level(case):
    """The original makes 8-bit images between its steps; a level there is less than one at last."""
    image, mask = scene(case)
    filled = TwoStageInpainter(networks())(image, mask)[0].permute(1, 2, 0).numpy()
    height, width = golden()[f"{case}/size"]
    step = (3, 5)[case]
    levels = np.floor(filled[:height:step, :width:step] * 255)
    assert np.abs(levels - golden()[f"{case}/final"]).max() <= 1
    step = int(golden()[f"{case}/refined_step"])
    apart = np.abs(filled[::step, ::step].transpose(2, 0, 1) - golden()[f"{case}/refined"])
    assert apart.max() <= 1 / 255
    known = (mask == 0)[0, 0].numpy()
    assert np.array_equal(filled[known], image[0].permute(1, 2, 0).numpy()[known])


# --- What is easily got wrong ---------------------------------------------------------------------


def test_copies_stand_in_order_and_are_moved_by_a_share_of_the_height():
    draw = torch.Generator().manual_seed(0)
    filled = torch.rand(1, 3, 256, 512, generator=draw)
    mask = (torch.rand(1, 1, 256, 512, generator=draw) < 0.5).float()
    x, by = refine_input(filled, mask), 50
    assert shift_of(256) == by and shift_of(2048) == 400
    assert torch.equal(x[:, :1], mask)
    assert torch.equal(x[:, 1:4], filled)
    moved = {
        4: ((slice(0, 256 - by), slice(None)), (slice(by, 256), slice(None))),  # up
        8: ((slice(by, 256), slice(None)), (slice(0, 256 - by), slice(None))),  # down
        12: ((slice(None), slice(by, 512)), (slice(None), slice(0, 512 - by))),  # right
        16: ((slice(None), slice(0, 512 - by)), (slice(None), slice(by, 512))),  # left
    }
    for first, (there, here) in moved.items():
        assert torch.equal(x[0, first : first + 3, *there], filled[0, :, *here])
        assert torch.equal(x[0, first + 3, *there], mask[0, 0, *here])
        left = torch.ones(256, 512, dtype=torch.bool)
        left[there] = False
        assert (x[0, first : first + 3, left] == torch.tensor(1 / 255)).all()
        assert (x[0, first + 3, left] == 1).all()


def test_nothing_is_left_of_copies_moved_further_than_the_image_is_wide():
    filled, mask = torch.rand(1, 3, 1536, 256), torch.zeros(1, 1, 1536, 256)
    x = refine_input(filled, mask)
    assert shift_of(1536) > 256
    for first in (12, 16):
        assert (x[:, first : first + 3] == torch.tensor(1 / 255)).all()
        assert (x[:, first + 3] == 1).all()


SIDES = st.integers(1, 16).map(lambda n: 256 * n)


@settings(deadline=None, max_examples=60)
@given(height=SIDES, width=SIDES)
def test_letterbox_takes_the_pixels_that_opencv_takes(height, width):
    box = Letterbox.of(height, width)
    assert max(box.height, box.width) == 512
    left, right, above, below = box.edges
    assert (left + box.width + right, above + box.height + below) == (512, 512)
    assert 0 <= right - left <= 1 and 0 <= below - above <= 1
    ramps = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    small = (box.width, box.height)
    rows = cv2.resize(np.tile(ramps[0][:, None], (1, 2)), (2, small[1]), interpolation=0)
    columns = cv2.resize(np.tile(ramps[1], (2, 1)), (small[0], 2), interpolation=0)
    assert tuple(rows[:, 0]) == box.rows
    assert tuple(columns[0]) == box.columns


def narrow() -> TwoStageInpainter:
    made = TwoStageNetworks([4] * 8, [5] * 8).eval().requires_grad_(False)
    seed_weights(made.coarse, STAND_IN_GAIN)
    seed_weights(made.refine, STAND_IN_GAIN)
    return TwoStageInpainter(made)


def test_known_pixels_come_back_bit_for_bit_and_the_hole_is_not_looked_at():
    inpaint, draw = narrow(), torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, 256, 512, generator=draw)
    mask = torch.zeros(1, 1, 256, 512)
    mask[:, :, 30:200, 100:300] = 1
    filled = inpaint(image, mask)
    known = (mask == 0).expand_as(image)
    assert torch.equal(filled[known], image[known])
    assert not torch.isclose(filled[~known], image[~known]).all()
    assert torch.equal(inpaint(torch.where(known, image, 1 - image), mask), filled)


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="cannot take 500×256: sides are multiples of 256"):
        narrow()(torch.rand(1, 3, 256, 500), torch.zeros(1, 1, 256, 500))
