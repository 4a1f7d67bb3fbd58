"""What reduced precision may cost, and that nothing hides behind it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.image import structural_similarity_index_measure

from rethined_export.converters.reducing.types import EXACT, PRECISIONS
from rethined_export.parity.gates import GATES, Fidelity, Gate, worst_of
from rethined_export.parity.image import ImageJudge
from rethined_export.parity.report import KNOWN_GATE, check_parity
from rethined_export.parity.similarity import similarity
from rethined_export.photo.scenes import Scene

GATE = Gate(psnr_hole_db=32.0, loss_db=0.3, loss_ssim=0.01)
figures = st.builds(Fidelity, st.floats(0, 200), st.floats(-5, 50), st.floats(-1, 1))


def scene(seed: int = 0, name: str = "waves") -> Scene:
    image = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(seed))
    mask = torch.zeros(1, 1, 24, 32)
    mask[:, :, 6:18, 8:24] = 1
    return Scene(name, image, mask)


def fill(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Half grey."""
    return image * (1 - mask) + 0.5 * mask


class Filler:
    """The same as an artifact, with an error in the hole and one outside."""

    name, takes = "filler", frozenset({"image", "mask"})

    def __init__(self, inside: float = 0.0, outside: float = 0.0) -> None:
        self._errors = inside, outside

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        image, mask = (torch.from_numpy(inputs[name]) for name in ("image", "mask"))
        inside, outside = self._errors
        made = fill(image, mask) + inside * mask + outside * (1 - mask)
        return {"output": made.numpy()}


def report(filler: Filler, gate: Gate | None = GATE):
    judge = ImageJudge(fill, lambda i, m: fill(i.float(), m.float()), Filler())
    return check_parity(judge, filler, "", [scene(), scene(1, "other")], gate)


def test_every_precision_has_a_gate() -> None:
    assert GATES.keys() == PRECISIONS.keys() - {EXACT}


@given(seed=st.integers(0, 1000))
def test_similarity_is_that_of_torchmetrics(seed: int) -> None:
    one, other = scene(seed), scene(seed + 1)
    hole = one.mask.expand_as(one.image).bool()
    _, expected = structural_similarity_index_measure(
        one.image, other.image, data_range=1.0, return_full_image=True
    )
    found = similarity(one.image.numpy(), other.image.numpy(), hole.numpy())
    # Both blur in fp32; the variances are differences of squares near 0.1, so 1e-6 relative.
    assert found == pytest.approx(float(expected[hole].mean()), abs=1e-4)


def test_equal_images_are_similar() -> None:
    image, hole = scene().image.numpy(), np.ones((1, 3, 24, 32), bool)
    assert similarity(image, image, hole) == pytest.approx(1, abs=1e-5)


def test_an_error_is_measured_and_judged_by_the_gate() -> None:
    good, bad = report(Filler(inside=0.01)), report(Filler(inside=0.05))
    assert good.failures == []
    assert good.to_dict()["psnr_hole_db"] == pytest.approx(40, abs=1e-3)  # 20 · log10(1 / 0.01)
    assert not bad.broken
    assert [line.split(":")[0] for line in bad.lossy] == ["waves", "other"]
    assert "26.0 dB, gate 32.0 dB" in bad.lossy[0]


def test_in_fp32_the_same_error_fails_as_before() -> None:
    assert "artifact against torch" in report(Filler(inside=0.01), None).failures[0]
    assert report(Filler(), None).to_dict()["quality"] is None


@pytest.mark.parametrize(("share", "passes"), [(0.9, True), (1.1, False)])
def test_known_pixels_keep_their_level(share: float, passes: bool) -> None:
    assert (report(Filler(outside=share * KNOWN_GATE)).failures == []) is passes


def test_losses_against_the_photo_are_gated_by_themselves() -> None:
    """A little noise costs next to nothing against torch, and can cost the photo."""
    found = Fidelity(60.0, loss_db=0.31, loss_ssim=0.011)
    lines = GATE.failures("a", found)
    assert ["PSNR" in lines[0], "SSIM" in lines[1], len(lines)] == [True, True, 2]


@pytest.mark.parametrize("error", [math.nan, math.inf])
def test_what_is_no_number_fails_and_cannot_be_consented_to(error: float) -> None:
    found = report(Filler(inside=error))
    assert found.lossy
    assert found.to_dict()["quality"]["accepting"] is None


def test_what_is_broken_cannot_be_consented_to() -> None:
    found = report(Filler(inside=0.05, outside=0.1))
    assert found.to_dict()["quality"]["accepting"] is None


@given(found=figures)
def test_consent_lets_the_same_figures_through_and_is_never_stricter(found: Fidelity) -> None:
    accepted = GATE.accepting(found)
    assert accepted is not None
    assert accepted.failures("a", found) == []
    assert accepted.psnr_hole_db <= GATE.psnr_hole_db
    assert accepted.loss_db >= GATE.loss_db
    much_worse = Fidelity(found.psnr_hole_db - 40, 60.0, 2.0)
    assert accepted.failures("a", much_worse)


@given(found=st.lists(figures, min_size=1, max_size=5))
def test_the_worst_passes_where_all_do(found: list[Fidelity]) -> None:
    passes = not GATE.failures("", worst_of(found))
    assert passes == (not any(GATE.failures("", one) for one in found))
