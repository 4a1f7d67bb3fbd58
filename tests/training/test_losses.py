"""Losses: worth what they say they are worth."""

import pytest
import torch

from rethined_export.models.rethined import Rethined
from rethined_export.models.rethined.training.losses import (
    copy_costs,
    energies_of,
    hole_error,
    hole_psnr,
)
from rethined_export.models.rethined.training.refined import refined
from rethined_export.models.rethined.training.settings import Settings
from rethined_export.models.rethined.training.start import new_model


def test_figures_look_at_the_hole_alone() -> None:
    truth = torch.full((2, 3, 16, 16), 0.5)
    mask = torch.zeros(2, 1, 16, 16)
    mask[:, :, :4] = 1
    painted = truth.clone()
    painted[:, :, 4:] = 0.9  # outside
    painted[0, :, :4] += 0.1
    # √(0.01 + 1e-4) and √1e-4, in hundredths, averaged
    assert float(hole_error(painted, truth, mask)) == pytest.approx(5.525, abs=1e-3)
    psnr = hole_psnr(painted, truth, mask)
    assert float(psnr[0]) == pytest.approx(19.957, abs=1e-3)  # 10 log10(1 / (0.01 + 1e-4))
    assert float(psnr[1]) == pytest.approx(40.0, abs=1e-3)


def test_costs_of_copying() -> None:
    torch.manual_seed(0)
    texture = 0.1 * torch.randn(1, 192)
    other = 0.1 * torch.randn(500, 192)
    flat = torch.zeros(1, 192)
    costs = copy_costs(texture, energies_of(texture), torch.cat([texture, flat, other]))[0]
    assert float(costs[0]) < 1e-3
    assert float(costs[2:].mean()) == pytest.approx(2, abs=0.3)
    assert float(costs[1]) > float(costs[2:].max())  # flat would have the smaller error


@pytest.fixture(scope="module")
def model() -> Rethined:
    return new_model(Settings(stages=())).eval()


def matching(model: Rethined, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    known = image * (1 - mask)
    with torch.no_grad():
        coarse, features = model.coarse_model(known, mask)
    return refined(model, known + mask * coarse, features, image, mask)[1]


def test_matching_trains_the_projections_alone(model: Rethined) -> None:
    torch.manual_seed(1)
    image = torch.rand(1, 3, 512, 512)
    mask = torch.zeros(1, 1, 512, 512)
    mask[:, :, 100:180, 200:260] = 1
    model.zero_grad()
    loss = matching(model, image, mask)
    loss.backward()
    head = model.generator.multihead_attention
    assert head.w_qs.weight.grad is not None
    assert float(head.w_qs.weight.grad.abs().sum()) > 0
    assert all(p.grad is None for p in model.coarse_model.parameters())


def test_matching_falls_as_it_is_minimised(model: Rethined) -> None:
    torch.manual_seed(2)
    image = torch.rand(1, 3, 512, 512)
    image[:, :, :, 256:] = 0.5  # half texture, half flat
    mask = torch.zeros(1, 1, 512, 512)
    mask[:, :, 200:264, 100:164] = 1
    optimiser = torch.optim.Adam(model.generator.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        loss = matching(model, image, mask)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_what_is_judged_is_what_is_deployed(model: Rethined) -> None:
    """The image that a whole stage looks at is x̂_LR of the reference with one key, to rounding."""
    torch.manual_seed(3)
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 64, 64), 512, mode="bilinear")
    mask = torch.zeros(1, 1, 512, 512)
    mask[:, :, 90:170, 200:331] = 1
    with torch.no_grad():
        reference = model(image, mask, 1)
        known = image * (1 - mask)
        coarse, features = model.coarse_model(known, mask)
        low, _ = refined(model, known + mask * coarse, features, image, mask)
    assert torch.allclose(low, reference.low, atol=1e-5)


def test_a_whole_image_teaches_both_parts(model: Rethined) -> None:
    torch.manual_seed(4)
    image, mask = torch.rand(1, 3, 512, 512), torch.zeros(1, 1, 512, 512)
    mask[:, :, 200:264, 100:164] = 1
    model.zero_grad()
    known = image * (1 - mask)
    coarse, features = model.coarse_model(known, mask)
    low, _ = refined(model, known + mask * coarse, features, image, mask)
    (mask * (low - image) ** 2).mean().backward()
    last, head = model.coarse_model.d0, model.generator.multihead_attention
    for parameter in (last.weight, head.w_qs.weight, head.w_ks.weight):
        assert parameter.grad is not None
        assert float(parameter.grad.abs().sum()) > 0
    assert torch.equal(low * (1 - mask), known)
