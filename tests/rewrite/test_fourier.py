"""Fourier units as matrix products against torch's transforms."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rethined_export.models.lama import FourierUnit, SpectralTransform
from rethined_export.models.seeded import seed_weights
from rethined_export.rewrite.fourier import FourierMatrices, FourierProducts, SpectralProducts
from tests.twins import EPS, VALUES, assert_within

SIDES = st.integers(1, 24)
CHANNELS = st.integers(1, 3)


def spectrum(x: Tensor) -> Tensor:
    """What the unit's convolution sees, by torch: parts as channels 2c and 2c + 1."""
    parts = torch.view_as_real(torch.fft.rfftn(x, dim=(2, 3), norm="ortho"))
    return parts.permute(0, 1, 4, 2, 3).flatten(1, 2)


def image(parts: Tensor, height: int, width: int) -> Tensor:
    real, imaginary = parts.unflatten(1, (-1, 2)).unbind(2)
    whole = torch.complex(real.contiguous(), imaginary.contiguous())
    return torch.fft.irfftn(whole, s=(height, width), dim=(2, 3), norm="ortho")


def terms(height: int, width: int) -> int:
    """Of two sums one after the other, and a few for the rounding of weights.

    The fast transform's own rounding grows with the logarithm of the length and is far below.
    """
    return 2 * height + 2 * (width // 2 + 1) + width + 8


@settings(deadline=None, max_examples=100)
@given(height=SIDES, width=SIDES, channels=CHANNELS, values=VALUES)
def test_spectrum_equals_rfftn(height, width, channels, values):
    """Each number weighs every pixel by at most 1/√(h·w): in all √(h·w) times the largest."""
    x = values.draw(1, channels, height, width)
    bound = terms(height, width) * EPS * (height * width) ** 0.5 * x.abs().max().item()
    assert_within(FourierMatrices(height, width).spectrum(x), spectrum(x), bound)


@settings(deadline=None, max_examples=100)
@given(height=SIDES, width=SIDES, channels=CHANNELS, values=VALUES)
def test_image_equals_irfftn_of_any_spectrum(height, width, channels, values):
    """Nothing makes these spectra Hermitian, as nothing does after the unit's ReLU.

    Weights are at most 2/√(h·w), and a part adds at most √2 of itself in each direction.
    """
    bins = width // 2 + 1
    parts = values.draw(1, 2 * channels, height, bins)
    weights = 4 * height * bins / (height * width) ** 0.5
    bound = terms(height, width) * EPS * weights * parts.abs().max().item()
    actual = FourierMatrices(height, width).image(parts)
    assert_within(actual, image(parts, height, width), bound)


@settings(deadline=None, max_examples=30)
@given(height=SIDES, width=SIDES, channels=CHANNELS, seed=st.integers(0, 2**31))
@torch.no_grad()
def test_unit_and_transform_equal_their_twins(height, width, channels, seed):
    """Batch norms are folded. 1e-5 of the largest value: about a hundred roundings.

    The spectrum of a map gathers in one bin, √(h·w) ≤ 24 times its mean, from where errors spread.
    """
    x = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(seed))
    matrices = FourierMatrices(height, width)
    for twin, products in (
        (FourierUnit(channels), FourierProducts),
        (SpectralTransform(channels, 4 * channels), SpectralProducts),
    ):
        seed_weights(twin.eval(), gain=1.0)
        expected = twin(x)
        actual = products(copy.deepcopy(twin), matrices)(x)
        assert_within(actual, expected, 1e-5 * max(1.0, expected.abs().max().item()))


def test_matrices_are_exact_to_rounding_at_the_largest_map():
    """There and back changes nothing, and a constant has one bin; no matrix exceeds 1 MB."""
    matrices = FourierMatrices(128, 96)
    x = torch.rand(1, 1, 128, 96, generator=torch.Generator().manual_seed(0))
    back = matrices.image(matrices.spectrum(x))
    assert_within(back, x, 1e-5)
    flat = matrices.spectrum(torch.ones(1, 1, 128, 96))
    assert flat[0, 0, 0, 0].item() == pytest.approx((128 * 96) ** 0.5, rel=1e-5)
    flat[0, 0, 0, 0] = 0
    assert flat.abs().max() < 1e-4
    assert all(matrix.numel() * 4 <= 2**20 for matrix in matrices.buffers())
