"""The patch stage against enlarging the whole image."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from twins import EPS, assert_within

from rethined_export.models.rethined import PATCH
from rethined_export.models.rethined.filters import bicubic_upsample
from rethined_export.recipes.rethined.patches import LOW_HALO, LOW_WINDOW, PatchStage, enlarging

SCALES = [2, 3, 4, 8, 16]


@pytest.mark.parametrize("scale", SCALES)
def test_enlarging_rows_sum_to_one(scale):
    """A flat image stays flat: taps that fell outside the window would be missing."""
    sums = enlarging(scale).sum(1)
    assert torch.allclose(sums, torch.ones_like(sums), atol=1e-12)


@settings(deadline=None, max_examples=12)
@given(
    scale=st.sampled_from(SCALES[:4]),
    grid=st.integers(2, 4),
    k=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_equals_the_whole_image(scale, grid, k, seed):
    """Every token of a small image as target, any as source, also at the border."""
    generator = torch.Generator().manual_seed(seed)
    size, side, count = PATCH * scale, PATCH * scale * grid, grid * grid
    image = torch.rand(1, 3, side, side, generator=generator)
    low = torch.rand(1, 3, PATCH * grid, PATCH * grid, generator=generator)
    keys = torch.randint(count, (count, k), generator=generator)
    weights = torch.softmax(torch.rand(count, k, generator=generator), dim=1)
    base = bicubic_upsample(low, scale)

    def windows(x, tokens, side, halo=0):
        framed = F.pad(x, [halo] * 4, mode="replicate")[0].transpose(0, 1)
        found = []
        for token in tokens.tolist():
            top, left = (place * side for place in divmod(token, grid))
            found.append(framed[top : top + side + 2 * halo, :, left : left + side + 2 * halo])
        return torch.stack(found)

    every, flat = torch.arange(count), keys.reshape(-1)
    high = windows(image - base, flat, size).reshape(count, k, size, 3, size)
    mixed = (weights if k > 1 else torch.ones(count, 1))[:, :, None, None, None] * high
    expected = windows(base, every, size) + mixed.sum(1)
    low_sources = windows(low, flat, PATCH, LOW_HALO)
    assert low_sources.shape[1:] == (LOW_WINDOW, 3, LOW_WINDOW)
    made = PatchStage(scale, k)(
        windows(image, flat, size),
        low_sources,
        windows(low, every, PATCH, LOW_HALO),
        weights if k > 1 else None,
    )
    # Some hundred terms of size at most 2: bicubic weights add up to 1.6 in size along each side.
    assert_within(made, expected, 300 * EPS)
