"""What copied details are given way by, against the reference's."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import EPS, VALUES

from rethined_export.models.rethined.blend import STEEPNESS, blend
from rethined_export.rewrite.blend import Blend

SIDES = st.integers(4, 40)


@settings(deadline=None, max_examples=60)
@given(height=SIDES, width=SIDES, share=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_shares_are_the_references(height, width, share, seed):
    """Blurs of at most 4 differ by (49 + 14 + 4) / 2 roundings, see test_blur; then a sum."""
    noise = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(seed))
    mask = (noise < share).float()
    shares = Blend(1.5).shares(mask)
    assert (shares - blend(mask)).abs().max() <= (STEEPNESS * 34 + 1) * EPS
    assert not shares[mask == 0].any()
    assert torch.equal(Blend(None).shares(mask), mask)


@settings(deadline=None, max_examples=30)
@given(values=VALUES, gain=st.sampled_from([0.5, 1.0, 1.25]))
def test_details_give_way(values, gain):
    """A product, a sum, a product, a sum."""
    image, own, copied = values.draw(3, 1, 3, 16, 24)
    shares = torch.linspace(0, 1, 24).expand(1, 1, 16, 24)
    expected = image.double() + shares.double() * (gain * copied.double() - own.double())
    most = image.abs() + shares * (gain * copied.abs() + own.abs())
    assert ((Blend(gain)(image, own, copied, shares) - expected).abs() <= 2 * EPS * most).all()
    assert torch.equal(Blend(gain)(image, own, copied, shares)[..., 0], image[..., 0])
    plain = Blend(None)(image, own, copied, shares)
    assert torch.equal(plain, image + shares * (copied - own))


def test_beyond_the_border_nothing_is_known():
    """A hole up to the picture's border takes all copied details there."""
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8, :] = 1
    shares = Blend(1.0).shares(mask)
    assert torch.equal(shares[..., :5, :], torch.ones(1, 1, 5, 16))
    assert (shares[..., 5:8, :] < 1).all()
