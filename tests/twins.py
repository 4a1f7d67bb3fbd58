"""Seeded values and rounding bounds shared by the tests of rewritten operators."""

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

#: Twice the unit roundoff: two float32 sums of n terms differ by at most n·EPS·Σ|terms|.
EPS = torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class Values:
    """Normal values ``offset + spread·N(0, 1)``, the same for the same seed."""

    seed: int
    spread: float
    offset: float

    def draw(self, *shape: int) -> Tensor:
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(self.seed))
        return self.offset + self.spread * noise


VALUES = st.builds(
    Values,
    seed=st.integers(0, 2**31),
    spread=st.sampled_from([0.0, 1e-6, 1.0, 1e4]),
    offset=st.sampled_from([0.0, 1.0, -1.0, 0.1, 1e4, -1e4]),
)


def rounding(terms: float, x: Tensor) -> float:
    """How far two float32 sums of ``terms`` values weighted by at most 1 in all can lie apart."""
    return terms * EPS * x.abs().max().item()


def assert_within(actual: Tensor, expected: Tensor, bound: float | Tensor) -> None:
    """Same shape and type, and nowhere further apart than the bound."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    excess = ((actual - expected).abs() - bound).max().item()
    assert excess <= 0, f"{excess:.3g} over the bound"
