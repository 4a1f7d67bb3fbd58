"""Metrics that say what they are said to say."""

import numpy as np
import pytest
import torch

from rethined_export.models.rethined.training import perception
from rethined_export.quality import st_lpips
from rethined_export.quality.methods import classical
from rethined_export.quality.metrics import Figures, border, mean, measure
from rethined_export.quality.perceptual import perceptual
from rethined_export.quality.scenes import Case


@pytest.fixture
def truth() -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return 0.25 + 0.5 * torch.rand(1, 3, 128, 128, generator=random)


@pytest.fixture
def mask() -> torch.Tensor:
    mask = torch.zeros(1, 1, 128, 128)
    mask[:, :, 40:90, 30:100] = 1
    return mask


def test_equal_images(truth: torch.Tensor, mask: torch.Tensor) -> None:
    figures = measure(truth, truth, mask)
    assert figures == Figures(100, 100, 1, 1, 0, 0, 0, 1)


def test_mean_keeps_figures_apart() -> None:
    one, two = Figures(1, 2, 3, 4, 5, 6, 7, 8), Figures(3, 6, 9, 12, 15, 18, 21, 24)
    assert mean([one, two]) == Figures(2, 4, 6, 8, 10, 12, 14, 16)


def test_a_constant_error_in_the_hole(truth: torch.Tensor, mask: torch.Tensor) -> None:
    figures = measure(truth + 0.1 * mask, truth, mask)
    share = float(mask.mean())
    assert figures.psnr_hole == pytest.approx(20, abs=1e-3)
    assert figures.psnr == pytest.approx(20 - 10 * np.log10(share), abs=1e-3)
    assert figures.l1_hole == pytest.approx(0.1, abs=1e-5)
    assert figures.l1 == pytest.approx(0.1 * share, abs=1e-5)
    assert figures.bpe == pytest.approx(0.1, abs=1e-5)


def test_flat_fills_have_no_texture(truth: torch.Tensor, mask: torch.Tensor) -> None:
    flat = truth * (1 - mask) + 0.5 * mask
    figures = measure(flat, truth, mask)
    assert figures.texture < 0.3  # what is left comes from beside the hole
    assert figures.ssim_hole < 0.5 < figures.ssim


def test_the_border_is_inside_the_hole_and_beside_known_pixels() -> None:
    hole = np.zeros((512, 512), bool)
    hole[100:200, 100:200] = True
    found = border(hole)
    assert not (found & ~hole).any()
    assert found[100, 150] and found[103, 150] and not found[105, 150]
    large = border(np.repeat(np.repeat(hole, 2, 0), 2, 1))
    assert large[207, 300] and not large[210, 300]


def test_what_cannot_be_computed_says_how_to_get_it(
    truth: torch.Tensor,
    mask: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: object,
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(st_lpips, "_PACKAGE", "no_such_package")
    monkeypatch.setattr(perception, "_PACKAGE", "no_such_package")
    found = perceptual([truth], [truth], [mask])
    assert {name for name, computed in found.items() if computed.value is not None} == {"flip"}
    for computed in found.values():
        if computed.value is None:
            assert "pip install" in computed.reason or str(tmp_path) in computed.reason


@pytest.mark.parametrize("name", ["flip", "features"])
def test_what_looks_different_is_far(truth: torch.Tensor, mask: torch.Tensor, name: str) -> None:
    flat = truth * (1 - mask) + 0.5 * mask
    filled = [truth, (truth + flat) / 2, flat]
    found = perceptual(filled, [truth] * 3, [mask] * 3)[name]
    assert found.each[0] == pytest.approx(0, abs=1e-6)
    assert found.each[0] < found.each[1] < found.each[2]
    assert found.value == pytest.approx(sum(found.each) / 3)


def test_patches_are_copied_where_a_texture_repeats() -> None:
    """What sets the classical methods apart: PatchMatch goes on with stripes, the others blur."""
    stripes = (torch.arange(96) // 4 % 2).float().expand(1, 3, 96, 96).contiguous()
    mask = torch.zeros(1, 1, 96, 96)
    mask[:, :, 32:64, 32:64] = 1
    case = Case("stripes", "given", stripes, mask, 1.0)
    errors = {
        method.name: measure(method.fill([case]).images[0], stripes, mask).l1_hole
        for method in classical()
        if method.fits(96)
    }
    ours = errors.pop("PatchMatch (PyPatchMatch)")
    assert ours < min(errors.values()) / 2


def trunk() -> dict[str, torch.Tensor]:
    """Random weights by the names and shapes of ST-LPIPS (alex)."""
    random = torch.Generator().manual_seed(1)
    blur = torch.tensor([1.0, 2.0, 1.0])
    state = {
        "scaling_layer.shift": torch.zeros(1, 3, 1, 1),
        "scaling_layer.scale": torch.ones(1, 3, 1, 1),
        "net.slice1.1.filt": (torch.outer(blur, blur) / 16).expand(64, 1, 3, 3),
    }
    shapes = [(64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3)]
    for number, (name, (out, channels, side)) in enumerate(
        zip(("slice1.0", "slice2.5", "slice3.9", "slice4.11", "slice5.13"), shapes, strict=True)
    ):
        kernel = torch.randn(out, channels, side, side, generator=random)
        state[f"net.{name}.weight"] = kernel / (channels * side * side) ** 0.5
        state[f"net.{name}.bias"] = torch.zeros(out)
        state[f"lin{number}.model.1.weight"] = torch.ones(1, out, 1, 1)
    return state


def test_what_looks_alike_is_near(truth: torch.Tensor, mask: torch.Tensor) -> None:
    network = st_lpips.ShiftTolerant(trunk())
    wanted = network.features(truth)
    flat = truth * (1 - mask) + 0.5 * mask
    half = (truth + flat) / 2
    distances = [network.distance(image, wanted, mask) for image in (truth, half, flat)]
    assert distances[0] == 0
    assert 0 < distances[1] < distances[2]
    assert network.features(torch.ones(1, 3, 256, 256))[4].shape == (1, 256, 32, 32)


def test_the_crop_compared_is_where_the_hole_is() -> None:
    mask = torch.zeros(1, 1, 1024, 1024)
    mask[:, :, 700:720, 300:310] = 1
    crop = st_lpips.hole_crop(mask)
    assert mask[crop].shape == (1, 1, 256, 256)
    assert float(mask[crop].sum()) == 200  # all of it
    whole = torch.ones(1, 1, 128, 128)
    assert whole[st_lpips.hole_crop(whole)].shape == whole.shape
