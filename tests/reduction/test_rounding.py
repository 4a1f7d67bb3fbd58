"""Rounded weights: of values that are stored, and nearer to what was than the nearest."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rethined_export.converters.reducing.palette import FEW_WEIGHTS, nearest_levels
from rethined_export.converters.types import run_program
from rethined_export.reduction.rounding import (
    STEPS,
    on_levels,
    on_steps,
    round_weights,
    rounded,
    steps,
)


def nearest(kernels: Tensor) -> Tensor:
    step = steps(kernels)
    return (kernels / step).round() * step


def by_steps(kernels: Tensor, moments: Tensor) -> Tensor:
    return rounded(kernels, moments, on_steps(steps(kernels), kernels))


@settings(deadline=None, max_examples=30)
@given(
    groups=st.integers(1, 4),
    outputs=st.integers(1, 5),
    inputs=st.integers(1, 150),
    seed=st.integers(0, 2**31),
)
def test_on_the_steps_and_the_steps_can_be_told(
    groups: int, outputs: int, inputs: int, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    kernels = torch.randn(groups, outputs, inputs, generator=random, dtype=torch.float64)
    seen = torch.randn(groups, inputs, 50, generator=random, dtype=torch.float64)
    made = by_steps(kernels, seen @ seen.mT)
    counts = made / steps(kernels)
    assert (counts - counts.round()).abs().max() <= 1e-9
    assert counts.abs().max() <= STEPS + 1e-9
    torch.testing.assert_close(steps(made), steps(kernels))
    torch.testing.assert_close(by_steps(made, seen @ seen.mT), made)


@settings(deadline=None, max_examples=30)
@given(inputs=st.sampled_from([48, 200]), seed=st.integers(0, 2**31))
def test_results_are_nearer_than_those_of_the_nearest(inputs: int, seed: int) -> None:
    """Where inputs have much in common, as those of a layer have: by half at least."""
    random = torch.Generator().manual_seed(seed)
    kernels = torch.randn(1, 64, inputs, generator=random, dtype=torch.float64)
    common = torch.randn(1, inputs, 4, generator=random, dtype=torch.float64)
    own = torch.randn(1, inputs, 400, generator=random, dtype=torch.float64)
    seen = common @ torch.randn(1, 4, 400, generator=random, dtype=torch.float64) + 0.1 * own
    levels = torch.as_tensor(nearest_levels(4, kernels.numpy())[0])
    one_by_one = levels[(kernels[..., None] - levels).abs().argmin(-1)]
    moments = seen @ seen.mT
    pairs = (
        (by_steps(kernels, moments), nearest(kernels)),
        (rounded(kernels, moments, on_levels(levels)), one_by_one),
    )
    for pair in pairs:
        made, others = (float(((one - kernels) @ seen).square().mean()) for one in pair)
        assert made < 0.5 * others
    assert torch.isin(pairs[1][0], levels).all()


def test_inputs_that_are_always_zero_harm_nothing() -> None:
    kernels = torch.ones(2, 1, 9, dtype=torch.float64)
    made = by_steps(kernels, torch.zeros(2, 9, 9, dtype=torch.float64))
    torch.testing.assert_close(made, kernels)


def test_what_is_no_number_is_left_alone() -> None:
    """Its gate will say what is wrong with it."""
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 1)).eval().requires_grad_(False)
    net[0].weight[0, 0, 0, 0] = torch.nan
    before = copy.deepcopy(net.state_dict())
    image = torch.ones(1, 1, 8, 8)
    program = run_program(net, {"image": image}, ("output",), ("image", "output"))
    round_weights(program, [{"image": image.numpy()}])
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)


class Net(nn.Module):
    """Layers of every kind, one of them used twice, and more inputs than are taken at once."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Conv2d(4, 160, 3, padding=1)
        self.down = nn.Conv2d(160, 48, 3, stride=2, bias=False)
        self.apart = nn.Conv2d(48, 48, 3, padding=1, groups=48)
        self.up = nn.ConvTranspose2d(48, 48, 4, stride=2)
        self.mixed = nn.Linear(48, 3)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        x = self.down(self.into(torch.cat([image * (1 - mask), mask], 1)).relu()).relu()
        x = self.apart(self.apart(x).relu()).relu()
        return self.mixed(self.up(x).relu().movedim(1, -1)).movedim(-1, 1)


def scenes(count: int) -> list[dict[str, Tensor]]:
    random = torch.Generator().manual_seed(5)
    coarse = torch.rand(count, 3, 8, 8, generator=random)
    images = nn.functional.interpolate(coarse, size=(48, 48), mode="bicubic")
    mask = torch.zeros(1, 1, 48, 48)
    mask[..., 10:30, 15:40] = 1
    return [{"image": image[None], "mask": mask} for image in images]


@pytest.fixture(scope="module")
def nets() -> tuple[nn.Module, nn.Module, nn.Module]:
    """A network as it was, rounded, and with every weight at the nearest step."""
    torch.manual_seed(6)
    plain = Net().eval().requires_grad_(False)
    made, near = copy.deepcopy(plain), copy.deepcopy(plain)
    given = scenes(4)
    program = run_program(made, given[0], ("output",), ("image", "mask", "output"))
    round_weights(program, [{name: x.numpy() for name, x in one.items()} for one in given])
    for layer in near.children():
        axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        rows = layer.weight.transpose(0, axis)
        layer.weight.copy_(nearest(rows.flatten(1)[None]).reshape(rows.shape).transpose(0, axis))
    return plain, made, near


def test_the_mean_of_what_a_layer_gives_stays() -> None:
    """Rounding to the nearest moves it a thousand times as far."""
    torch.manual_seed(8)
    layer = nn.Conv2d(3, 16, 3).eval().requires_grad_(False)
    seen = scenes(2)
    inputs = {"image": seen[0]["image"]}
    program = run_program(layer, inputs, ("output",), ("image", "output"))
    before, near = copy.deepcopy(layer), copy.deepcopy(layer)
    near.weight.copy_(nearest(near.weight.flatten(1)[None]).reshape(near.weight.shape))
    round_weights(program, [{"image": one["image"].numpy()} for one in seen])

    def moved(other: nn.Module) -> float:
        apart = [other(one["image"]) - before(one["image"]) for one in seen]
        return float(torch.cat(apart).mean((0, 2, 3)).abs().max())

    assert moved(layer) < moved(near) / 1000


def test_a_network_gives_what_it_did(nets: tuple[nn.Module, ...]) -> None:
    """On images that it was not rounded on, three times nearer at least than to the nearest."""
    plain, made, near = nets
    for seen in scenes(7)[4:]:
        truth = plain(**seen)
        apart, others = ((one(**seen) - truth).square().mean() for one in (made, near))
        assert apart < others / 9


def test_quantisers_find_the_same_weights(nets: tuple[nn.Module, ...]) -> None:
    for layer in nets[1].children():
        axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        kernels = layer.weight.transpose(0, axis).flatten(1)[None]
        torch.testing.assert_close(nearest(kernels), kernels, rtol=0, atol=1e-6)


def test_palettes_are_of_large_layers_alone() -> None:
    torch.manual_seed(9)
    net = nn.Sequential(nn.Conv2d(3, 128, 1), nn.Conv2d(128, 144, 1)).eval().requires_grad_(False)
    before = copy.deepcopy(net)
    inputs = {"image": scenes(1)[0]["image"]}
    program = run_program(net, inputs, ("output",), ("image", "output"))
    round_weights(program, [{"image": inputs["image"].numpy()}], palette=4)
    assert net[0].weight.numel() <= FEW_WEIGHTS < net[1].weight.numel()
    assert torch.equal(net[0].weight, before[0].weight)
    assert len(net[1].weight.unique()) == 16
    apart = net(inputs["image"]) - before(inputs["image"])
    near = copy.deepcopy(before)
    levels, places = nearest_levels(4, near[1].weight.numpy())
    near[1].weight.copy_(torch.as_tensor(levels[places]).reshape(near[1].weight.shape))
    others = near(inputs["image"]) - before(inputs["image"])
    assert apart.square().mean() < 0.25 * others.square().mean()
