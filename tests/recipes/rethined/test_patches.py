"""The patch stage against enlarging and blurring the whole image."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from twins import EPS, assert_within

from rethined_export.models.rethined import PATCH
from rethined_export.models.rethined.filters import bicubic_upsample, high_frequencies
from rethined_export.recipes.rethined.patches import (
    FIRST,
    HALO,
    LAST,
    LOW_HALO,
    LOW_WINDOW,
    BorderBlur,
    PatchMix,
    PatchStage,
    SourceWindows,
    blurring,
    enlarging,
    inner,
)

SCALES = [2, 3, 4, 8, 16]


@pytest.mark.parametrize("scale", SCALES)
def test_enlarging_rows_sum_to_one(scale):
    """A flat image stays flat: taps that fell outside the window would be missing."""
    sums = enlarging(scale).sum(1)
    assert torch.allclose(sums, torch.ones_like(sums), atol=1e-12)


def test_border_tokens_do_not_read_beyond_the_image():
    matrices = blurring(16)
    assert matrices[FIRST][:, :HALO].abs().max() == 0
    assert matrices[LAST][:, -HALO:].abs().max() == 0
    assert torch.allclose(matrices.sum(2), torch.ones(3, 16, dtype=torch.float64))


@settings(deadline=None, max_examples=12)
@given(
    scale=st.sampled_from(SCALES[:4]),
    grid=st.integers(2, 4),
    k=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_equals_the_whole_image(scale, grid, k, seed):
    """Every token of a small image as target, any as source, holes anywhere, also at the border."""
    generator = torch.Generator().manual_seed(seed)
    size, side, count = PATCH * scale, PATCH * scale * grid, grid * grid
    image = torch.rand(1, 3, side, side, generator=generator)
    mask = (torch.rand(1, 1, side, side, generator=generator) < 0.3).float()
    low = torch.rand(1, 3, PATCH * grid, PATCH * grid, generator=generator)
    keys = torch.randint(count, (count, k), generator=generator)
    weights = torch.softmax(torch.rand(count, k, generator=generator), dim=1)

    base = bicubic_upsample(low, scale)
    context = image * (1 - mask) + mask * base
    high = high_frequencies(context)

    def patch(x, token):
        token = int(token)
        top, left = (place * size for place in divmod(token, grid))
        return x[0, :, top : top + size, left : left + size]

    expected = torch.stack(
        [
            patch(base, token)
            + sum(weights[token, r] * patch(high, keys[token, r]) for r in range(k))
            for token in range(count)
        ]
    ).transpose(1, 2)

    def windows(x, tokens, side, halo, mode):
        framed = F.pad(x, [halo] * 4, mode=mode)[0].transpose(0, 1)
        found = []
        for token in tokens.tolist():
            top, left = (place * side for place in divmod(token, grid))
            found.append(framed[top : top + side + 2 * halo, :, left : left + side + 2 * halo])
        return torch.stack(found)

    flat = keys.reshape(-1)
    # What lies beyond the border must not matter: it is noise here.
    framed = torch.rand(1, 3, side + 2 * HALO, side + 2 * HALO, generator=generator) * 100
    framed[:, :, HALO:-HALO, HALO:-HALO] = image
    sources = torch.stack(
        [
            framed[0, :, t * size : t * size + size + 6, u * size : u * size + size + 6]
            for t, u in (divmod(token, grid) for token in flat.tolist())
        ]
    ).transpose(1, 2)
    low_sources = windows(low, flat, PATCH, LOW_HALO, "replicate")
    assert low_sources.shape[1:] == (LOW_WINDOW, 3, LOW_WINDOW)
    holes = windows(mask, flat, size, HALO, "constant")
    filled = SourceWindows(scale)(sources, holes, low_sources)
    targets = windows(low, torch.arange(count), PATCH, LOW_HALO, "replicate")
    shares = weights if k > 1 else None
    reflected = windows(context, flat, size, HALO, "reflect")
    # Some hundred terms of size at most 2: bicubic weights add up to 1.6 in size along each side.
    high = inner(filled) - BorderBlur(size, grid)(filled, flat)
    assert_within(PatchMix(scale, k)(high, targets, shares), expected, 300 * EPS)
    assert_within(PatchStage(scale, k)(reflected, targets, shares), expected, 300 * EPS)
