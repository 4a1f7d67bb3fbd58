"""Losses: worth what they say they are worth."""

import pytest
import torch
from torch.nn import functional as F

from rethined_export.models.rethined import Rethined
from rethined_export.models.rethined.training.critic import (
    CELL,
    Critic,
    CriticObjective,
    persuasion_loss,
)
from rethined_export.models.rethined.training.losses import (
    copy_costs,
    energies_of,
    hole_error,
    hole_psnr,
)
from rethined_export.models.rethined.training.objective import Judges, Objective, _pull
from rethined_export.models.rethined.training.perception import Perception
from rethined_export.models.rethined.training.refined import refined
from rethined_export.models.rethined.training.samples import Batch
from rethined_export.models.rethined.training.settings import Settings, Stage
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


def holed(side: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise, and a hole of whole cells."""
    torch.manual_seed(5)
    mask = torch.zeros(2, 1, side, side)
    mask[:, :, CELL : 4 * CELL, CELL : 5 * CELL] = 1
    return torch.rand(2, 3, side, side), mask


def test_a_critic_learns_to_tell_flat_from_noise() -> None:
    truth, mask = holed()
    flat = truth * (1 - mask) + 0.5 * mask
    objective = CriticObjective(Critic(), bf16=False)
    optimiser = torch.optim.Adam(objective.parameters(), lr=1e-3)
    losses = []
    for step in range(40):
        loss = objective(flat, truth, mask, step % 4 == 0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(objective(flat, truth, mask, False).detach()))
    assert losses[0] > 1
    assert losses[-1] < 0.3
    doubt, unlike = persuasion_loss(objective.critic, flat, truth, mask)
    assert float(doubt.detach()) > 1.5  # it says that flat is painted
    same, none = persuasion_loss(objective.critic, truth, truth, mask)
    assert float(same.detach()) < float(doubt.detach())
    assert float(none.detach()) == 0 < float(unlike.detach())


def test_verdicts_far_from_the_hole_do_not_count() -> None:
    truth, mask = holed(128)
    critic = Critic()
    far = truth.clone()
    far[:, :, 120:] = 0  # more than the 70 pixels that a verdict sees away from the hole
    one, other = (persuasion_loss(critic, image, image, mask)[0] for image in (truth, far))
    assert torch.allclose(one, other, atol=1e-6)


def classifier_state() -> dict[str, torch.Tensor]:
    """Random weights by the names and shapes of EfficientNet-Lite0's first blocks."""
    torch.manual_seed(6)
    state: dict[str, torch.Tensor] = {}

    def norm(name: str, channels: int) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.rand(2, channels) + 0.5
        state[f"{name}.running_mean"], state[f"{name}.running_var"] = torch.rand(2, channels) + 0.5

    state["_conv_stem.weight"] = 0.1 * torch.randn(32, 3, 3, 3)
    norm("_bn0", 32)
    shapes = [(16, 32, 3), (24, 96, 3), (24, 144, 3), (40, 144, 5), (40, 240, 5), (80, 240, 3),
              (80, 480, 3), (80, 480, 3), (112, 480, 5), (112, 672, 5), (112, 672, 5)]  # fmt: skip
    before = 32
    for number, (out, wide, kernel) in enumerate(shapes):
        name = f"_blocks.{number}"
        if number:
            state[f"{name}._expand_conv.weight"] = 0.1 * torch.randn(wide, before, 1, 1)
            norm(f"{name}._bn0", wide)
        state[f"{name}._depthwise_conv.weight"] = 0.1 * torch.randn(wide, 1, kernel, kernel)
        norm(f"{name}._bn1", wide)
        state[f"{name}._project_conv.weight"] = 0.1 * torch.randn(out, wide, 1, 1)
        norm(f"{name}._bn2", out)
        before = out
    return state


def test_features_stand_where_their_strides_say() -> None:
    state = classifier_state()
    perception = Perception(state).eval()
    image = torch.rand(1, 3, 64, 96)
    shapes = [tuple(feature.shape[1:]) for feature in perception(image)]
    assert shapes == [(16, 32, 48), (24, 16, 24), (40, 8, 12), (112, 4, 6)]
    # Batch norm, written out on the first layer; TensorFlow pads 0 before and 1 after at stride 2.
    x = F.conv2d(
        F.pad((255 * image - 127) / 128, [0, 1, 0, 1]), state["_conv_stem.weight"], None, 2
    )
    norm = [state[f"_bn0.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
    expected = F.batch_norm(x, *norm, eps=1e-3)
    assert torch.allclose(perception._stem((255 * image - 127) / 128), expected, atol=1e-4)


def test_equal_images_look_equal_and_others_do_not() -> None:
    truth, mask = holed()
    perception = Perception(classifier_state()).eval()
    painted = (truth * (1 - mask)).requires_grad_()
    apart = perception.difference(painted, truth, mask)
    apart.backward()
    assert painted.grad is not None
    assert float(painted.grad.abs().sum()) > 0
    assert float(apart.detach()) > 1e-3
    assert float(perception.difference(truth, truth, mask)) == 0


def test_judges_pull_as_strongly_as_the_settings_say() -> None:
    """Whatever the size of their own gradients."""
    truth, mask = holed()
    stage = Stage("coarse", 64, 2, 1, 1e-3, critic=0.5)
    model, critic = new_model(Settings(stages=())), Critic()
    objective = Objective(model, stage, False, Judges(critic))
    painted = (truth * (1 - mask) + 0.5 * mask).requires_grad_()
    batch = Batch(truth, mask)
    for louder in (1.0, 30.0):
        with torch.no_grad():
            critic.verdict.weight.mul_(louder)
        loss = objective._judgement(painted, batch, torch.tensor(0.02))
        assert float(_pull(loss, painted)) == pytest.approx(0.5 * 0.02, rel=1e-3)
