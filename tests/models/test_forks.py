"""Public training code's own results, from weights that follow from their names.

``noise_fp32`` is how far the original moves when it runs in float32 instead of float64: coarse
image, low resolution, full resolution, attention. This reference runs in float32, in another order
of summation, so that it may lie as far again and a little more: four times that.
"""

from dataclasses import replace

import pytest
import torch
from forks import FORKS, Golden, golden, scene
from torch import Tensor

from rethined_export.models.rethined.config import AUTHORS, DIALECTS, Dialect
from rethined_export.models.rethined.derive import Derived, from_tensors
from rethined_export.models.rethined.reference import Inpainted

#: Rows and columns of the result that ``*_crop`` holds: a corner of a hole.
CROP = (slice(216, 280), slice(512, 576))
_TIMES = 4
#: A rounding of the pixels themselves, near 1, a few of which any result has.
_LEAST = 4 * torch.finfo(torch.float32).eps
PUBLISHED = [fork for fork in FORKS if fork != "copy"]
#: Networks of 60 to 170 million parameters, on a machine that others use too.
pytestmark = pytest.mark.timeout(1800)
slow_published = [pytest.param(fork, marks=pytest.mark.slow) for fork in PUBLISHED]
MIKANQUYT = DIALECTS["mikanquyt"]


def load(fork: str) -> Derived:
    dialect = DIALECTS.get(fork, AUTHORS)
    return from_tensors(
        golden(fork).weights(), "paper", "copy" if fork == "copy" else "published", dialect
    )


def run(made: Derived) -> Inpainted:
    with torch.no_grad():
        return made.model(*scene())


def assert_equals(actual: Tensor, stored: Golden, name: str, noise: float) -> None:
    """Within the original's own float32 noise, and the steps it is stored in."""
    expected, step = stored.image(name)
    bound = _TIMES * noise + _LEAST + step
    assert (actual.double() - expected.double()).abs().max().item() <= bound, name


def assert_chooses_alike(result: Inpainted, stored: Golden) -> None:
    tokens = stored.numbers("hole_tokens").long()
    assert torch.equal(result.hole.nonzero()[:, 0], tokens)
    scores = result.scores[tokens].scatter(1, tokens[:, None], -torch.inf)
    best = scores.argmax(1)
    # A choice may flip where the best two lie closer than the scores' own rounding, 1e-5 of them.
    tied = stored.numbers("margin") < 1e-5 * stored.numbers("best_score").abs()
    assert (best == stored.numbers("best_key"))[~tied].all()
    found = scores.gather(1, best[:, None])[:, 0]
    torch.testing.assert_close(found.double(), stored.numbers("best_score"), rtol=3e-5, atol=1e-5)


@pytest.mark.parametrize("fork", ["copy", *slow_published])
def test_reproduces_the_original(fork):
    stored, made = golden(fork), load(fork)
    result = run(made)
    coarse, low, high = stored.arrays["noise_fp32"][:3]
    assert_equals(result.coarse[0, :, ::8, ::8], stored, "coarse_stride8", coarse)
    assert_equals(result.low[0, :, ::8, ::8], stored, "lr_out_stride8", low)
    assert_chooses_alike(result, stored)
    name = {"copy": "hr", "mikanquyt": "hr_final"}.get(fork, "hr_masked")
    assert_equals(result.output[0][:, *CROP], stored, f"{name}_crop", high)
    if fork != "mikanquyt":
        assert_equals(result.output[0, :, ::16, ::16], stored, f"{name}_stride16", high)
    if fork == "copy":
        x_low, values, _ = made.model.downsample(*scene(), 2)
        assert_equals(x_low[0, :, ::16, ::16], stored, "lr_input_stride8", low)
        assert_equals(values[0, :, ::16, ::16], stored, "lr_values_stride8", low)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fork,dialect,name",
    [
        ("authors", replace(AUTHORS, context="full"), "hr_full_stride16"),
        ("musashi", replace(AUTHORS, context="full"), "hr_full_stride16"),
        ("mikanquyt", replace(MIKANQUYT, context="masked", composite=False), "hr_masked_crop"),
        (
            "mikanquyt",
            replace(MIKANQUYT, context="masked", composite=False, enlarge="bicubic"),
            "hr_masked_bicubic_base_stride16",
        ),
    ],
)
def test_reproduces_the_original_in_another_dialect(fork: str, dialect: Dialect, name: str):
    """Fed the unmasked photo as its scripts do; as trained; before compositing."""
    stored = golden(fork)
    made = from_tensors(stored.weights(), "paper", "published", dialect)
    result = run(made).output[0]
    actual = result[:, *CROP] if name.endswith("_crop") else result[:, ::16, ::16]
    assert_equals(actual, stored, name, stored.arrays["noise_fp32"][2])


@pytest.mark.slow
def test_widths_of_mikanquyt_are_noticed():
    """Nothing else tells its network, which loads as the authors' and computes another image."""
    weights = golden("mikanquyt").weights()
    plain = from_tensors(weights, "paper", "published")
    assert any("--dialect mikanquyt" in note for note in plain.notes)
    asked = from_tensors(weights, "paper", "published", MIKANQUYT)
    assert not any("--dialect mikanquyt" in note for note in asked.notes)


@pytest.mark.slow
def test_doubles_measure_the_noise_of_floats():
    """The original's own float32 noise, found from this reference alone."""
    made, stored = load("musashi"), golden("musashi")
    single = run(made)
    made.model.double()
    with torch.no_grad():
        exact = made.model(*(x.double() for x in scene()))
    assert_equals(exact.output[0][:, *CROP].float(), stored, "hr_masked_crop", 0.0)
    noise = (single.output - exact.output).abs().max().item()
    assert 0.1 <= noise / stored.arrays["noise_fp32"][2] <= 10
