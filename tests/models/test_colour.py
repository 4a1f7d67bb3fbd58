"""What is painted has colour where the photo has."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rethined_export.models.rethined.colour import ENOUGH, NONE, as_colourful
from rethined_export.recipes.rethined import shipped_network


def painted() -> Tensor:
    return torch.randn(2, 3, 512, 512, generator=torch.Generator().manual_seed(0))


def image(colour: float, known: Tensor) -> Tensor:
    """Grey noise, red and green apart so that the mean difference from grey is ``colour``."""
    grey = torch.rand(2, 1, 512, 512, generator=torch.Generator().manual_seed(1))
    return known * (0.2 + 0.5 * grey + 1.5 * colour * torch.tensor([1.0, -1, 0]).reshape(3, 1, 1))


def half() -> Tensor:
    """Known on the left; a hole's share says nothing of colour."""
    known = torch.zeros(2, 1, 512, 512)
    known[..., :256] = 1
    return known


@settings(deadline=None, max_examples=15)
@given(colour=st.floats(0, 0.01))
def test_colour_is_kept_as_far_as_the_known_has_any(colour: float) -> None:
    known, given = half(), painted()
    made = as_colourful(given, image(colour, known), 1 - known)
    share = min(1, max(0, (colour - NONE) / (ENOUGH - NONE)))
    grey = given.mean(1, keepdim=True)
    torch.testing.assert_close(made, grey + share * (given - grey), atol=2e-3, rtol=0)
    if min(abs(colour - NONE), abs(colour - ENOUGH)) > 1e-6 and share in (0, 1):
        torch.testing.assert_close(made, given if share else grey.expand_as(made))


def test_where_nothing_is_known_it_is_a_number() -> None:
    nothing = torch.zeros(2, 1, 512, 512)
    assert as_colourful(painted(), nothing.expand(2, 3, -1, -1), nothing + 1).isfinite().all()


@pytest.mark.parametrize("levels", [0, 1])
def test_a_grey_photo_stays_grey(levels: int) -> None:
    """Though a pixel's channels differ by the levels that JPEG may leave."""
    made = torch.Generator().manual_seed(2)
    photo = torch.rand(1, 1, 32, 32, generator=made).repeat_interleave(16, 2)
    photo = photo.repeat_interleave(16, 3) + torch.randint(
        0, levels + 1, (1, 3, 512, 512), generator=made
    ) / 255  # fmt: skip
    mask = torch.zeros(1, 1, 512, 512)
    mask[..., 100:300, 200:420] = 1
    with torch.no_grad():
        output = shipped_network()(photo.clamp(0, 1) * (1 - mask), mask, 1).output
    spread = (output.max(1).values - output.min(1).values)[mask[:, 0] > 0]
    assert spread.max() <= 2.01 * levels / 255 + 1e-5
