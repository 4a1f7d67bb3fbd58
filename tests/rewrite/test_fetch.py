"""Windows read by look-up against plain slices."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import VALUES

from rethined_export.rewrite.fetch import PatchFetch


@settings(deadline=None, max_examples=60)
@given(
    channels=st.integers(1, 3),
    patch=st.sampled_from([8, 16, 24]),
    grid=st.integers(1, 5),
    around=st.sampled_from([(0, 0), (0, 8), (1, 8), (2, 8), (8, 8), (3, 16)]),
    values=VALUES,
)
def test_reads_what_slicing_reads(channels, patch, grid, around, values):
    halo, margin = around
    side = patch * grid + 2 * margin
    x = values.draw(1, channels, side, side)
    fetch = PatchFetch(channels, patch, grid, halo, margin)
    tokens = torch.arange(grid**2, dtype=torch.int32).flip(0)
    found = fetch(x, tokens)
    assert found.shape == (grid**2, patch + 2 * halo, channels, patch + 2 * halo)
    rows = x[0].transpose(0, 1)
    for window, token in zip(found, tokens.tolist(), strict=True):
        top, left = (place * patch + margin - halo for place in divmod(token, grid))
        plain = rows[top : top + patch + 2 * halo, :, left : left + patch + 2 * halo]
        assert torch.equal(window, plain)
