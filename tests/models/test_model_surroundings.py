"""Codes of what surrounds tokens, against distances summed pixel by pixel."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import small_config
from torch import Tensor

from rethined_export.models.rethined.attention import PatchAttention
from rethined_export.models.rethined.surroundings import (
    BITS,
    CODE,
    PAINTED,
    WRONG_BIT,
    Surroundings,
)

GRID, MARGIN = 64, 2


def scene(seed: int) -> tuple[Tensor, Tensor]:
    """Colours and a mask that are constant over squares of 4 × 4 beginning two pixels off a token.

    So averages over squares say all there is, and the codes are exact.
    """
    made = torch.Generator().manual_seed(seed)
    colours = torch.rand(1, 3, 129, 129, generator=made, dtype=torch.float64)
    mask = (torch.rand(1, 1, 129, 129, generator=made) > 0.4).double()
    wide = [x.repeat_interleave(4, 2).repeat_interleave(4, 3) for x in (colours, mask)]
    image, hole = (x[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN] for x in wide)
    return image, hole


def window(x: Tensor, token: int) -> Tensor:
    """A token's pixels and those around it."""
    top, left = (8 * at - MARGIN for at in divmod(token, GRID))
    return x[0, :, top : top + 12, left : left + 12]


def codes(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """In the image's precision."""
    return Surroundings().to(image.dtype)(image, mask)


INSIDE = st.builds(lambda row, column: 64 * row + column, st.integers(1, 62), st.integers(1, 62))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 99), query=INSIDE, key=INSIDE)
def test_products_are_mean_squared_differences(seed, query, key):
    image, mask = scene(seed)
    queries, keys = codes(image, mask)
    assert queries.shape == keys.shape == (1, 4096, CODE)
    weights = 1 - (1 - PAINTED) * window(mask, query)
    mean = image.mean((2, 3))[0, :, None, None]
    asked, offered = window(image, query) - mean, window(image, key) - mean
    distance = (weights * (asked - offered) ** 2).sum() / weights.sum()
    wrong = sum(
        bin((a ^ b) & 15).count("1")
        for a, b in zip(divmod(query, GRID), divmod(key, GRID), strict=True)
    )
    places = 2 * BITS * WRONG_BIT / 2 - wrong * WRONG_BIT
    product = (queries[0, query] * keys[0, key]).sum() - places
    assert (product + distance).abs() <= 1e-6  # COLOURS are in single precision


def test_the_patch_that_continues_the_known_is_chosen():
    """A stripe of noise that stands elsewhere too, eight pixels of it painted grey."""
    torch.manual_seed(0)
    image = torch.rand(1, 3, 512, 512)
    image[:, :, 320:344, 200:224] = image[:, :, 80:104, 400:424]
    mask = torch.zeros(1, 1, 512, 512)
    mask[:, :, 328:336, 208:216] = 1
    queries, keys = codes(torch.where(mask > 0, 0.5, image), mask)
    token = 41 * GRID + 26
    scores = queries[0, token] @ keys[0].T
    scores[token] = -3e4  # itself
    assert scores.argmax() == 11 * GRID + 51


def test_beyond_the_border_nothing_is_known():
    """Of a token in the corner only what lies inside counts."""
    torch.manual_seed(0)
    image, mask = torch.rand(1, 3, 512, 512), torch.zeros(1, 1, 512, 512)
    image[:, :, 256:266, 256:266] = image[:, :, :10, :10]
    queries, keys = codes(image, mask)
    scores = queries[0, 0] @ keys[0].T
    assert scores[32 * GRID + 32] == pytest.approx(scores[1:].max().item(), abs=1e-6)


def test_without_surroundings_there_is_no_code():
    attention = PatchAttention(small_config())
    found = attention.alike(torch.rand(2, 3, 512, 512), torch.zeros(2, 1, 512, 512))
    assert [code.shape for code in found] == [(2, 4096, 0)] * 2
