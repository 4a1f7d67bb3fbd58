"""Places read as strided slices against reading them one by one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rethined_export.models.deepfill import reduced_places
from rethined_export.rewrite.runs import runs_of, take_runs


@settings(deadline=None, max_examples=100)
@given(places=st.sets(st.integers(0, 40), min_size=1), axis=st.integers(0, 3))
def test_equals_reading_one_by_one(places, axis):
    places = sorted(places)
    shape = [2, 3, 4, 5]
    shape[axis] = 41
    x = torch.rand(shape)
    made = take_runs(x, axis, runs_of(places))
    assert torch.equal(made, x.index_select(axis, torch.tensor(places)))


@pytest.mark.parametrize(("step", "most"), [(2, 2), (8, 8)])
@pytest.mark.parametrize("side", [64, 96, 128, 520, 1024])
def test_reductions_that_keep_the_corners_are_few_runs(side, step, most):
    places = reduced_places(side, step, align_corners=True).tolist()
    assert places[-1] == side - 1
    assert len(runs_of(places)) <= most


def test_every_other_place_is_one_run():
    assert runs_of([0, 2, 4, 6]) == (slice(0, 7, 2),)
