"""The smooth fill of a hole that the coarse model may start from."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rethined_export.models.rethined.push_pull import push_pull

#: Rounding of the sums, products and quotients on the way down and up, each of values up to 1.
TOLERANCE = 1e-5


def scene(side: int, cover: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise and a hole of scattered 8×8 blocks; one block is always known."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 3, side, side, generator=generator)
    blocks = (torch.rand(2, 1, side // 8, side // 8, generator=generator) < cover).float()
    blocks[:, :, 0, 0] = 0
    return image, torch.nn.functional.interpolate(blocks, scale_factor=8.0)


@settings(deadline=None, max_examples=40)
@given(side=st.sampled_from([8, 64, 256]), cover=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_keeps_what_is_known_and_stays_between_its_colours(side, cover, seed):
    image, mask = scene(side, cover, seed)
    filled = push_pull(image * (1 - mask), mask)
    known = (mask == 0).expand_as(image)
    assert torch.equal(filled[known], image[known])
    for one, colours, kept in zip(filled, image, mask[:, 0] == 0, strict=True):
        for channel in range(3):
            least, most = colours[channel][kept].aminmax()
            assert one[channel].min() >= least - TOLERANCE
            assert one[channel].max() <= most + TOLERANCE


@settings(deadline=None, max_examples=20)
@given(cover=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_one_colour_is_continued(cover, seed):
    _, mask = scene(128, cover, seed)
    image = torch.tensor([0.2, 0.5, 0.9]).reshape(1, 3, 1, 1).expand(2, 3, 128, 128)
    assert (push_pull(image * (1 - mask), mask) - image).abs().max() <= TOLERANCE


def test_a_single_known_pixel_colours_the_image():
    mask = torch.ones(1, 1, 64, 64)
    mask[:, :, 40, 7] = 0
    filled = push_pull(0.3 * (1 - mask).expand(1, 3, 64, 64), mask)
    assert (filled - 0.3).abs().max() <= TOLERANCE


def test_a_slope_is_bridged():
    """Far better than the mean colour: a plane is continued to a tenth of its rise."""
    slope = torch.linspace(0, 1, 256).expand(1, 3, 256, 256)
    mask = torch.zeros(1, 1, 256, 256)
    mask[:, :, 64:192, 64:192] = 1
    hole = mask.expand_as(slope) > 0
    filled = push_pull(slope * (1 - mask), mask)
    assert (filled - slope)[hole].abs().mean() <= 0.05
    assert (filled - slope)[hole].abs().max() <= 0.15


@pytest.mark.parametrize("side", [8, 512])
def test_nothing_known_is_black_not_nan(side):
    filled = push_pull(torch.zeros(1, 3, side, side), torch.ones(1, 1, side, side))
    assert torch.equal(filled, torch.zeros(1, 3, side, side))
