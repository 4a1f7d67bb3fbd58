"""Parallel multi-resolution fusion: the slides' equations, and the network around them.

No code of the authors' is public. The golden file is an evaluation of the equations in NumPy and
float64, apart from this code: one layer of 2 to 3 channels on a map of 16×16.
"""

import re
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rethined_export.models.pmrf import (
    DELTA,
    PRESETS,
    Attention,
    Fill,
    Inpainter,
    PartialConv,
    Pmrf,
    contour,
    mask_update,
    native_input,
    seed_stand_in,
    window_sum,
)
from rethined_export.models.pmrf.fusion import Fusion
from rethined_export.models.pmrf.priority import central_differences

GOLDEN = Path(__file__).parents[1] / "golden" / "pmrf-worked-example.npz"
#: Of values of order 1 to 10 in float64, sums of 18 products: a hundred times their rounding.
EXACT = 1e-13


@cache
def example() -> dict[str, Tensor]:
    with np.load(GOLDEN) as file:
        return {name: torch.from_numpy(np.asarray(file[name], np.float64)) for name in file}


def planes(name: str) -> Tensor:
    """A stored map, ``[1, C, h, w]``."""
    value = example()[name]
    return value[None] if value.ndim == 3 else value[None, None]


def layer(level: int) -> PartialConv:
    made = PartialConv(2, 3, level).double().requires_grad_(False)
    made.conv.weight.copy_(example()["W"])
    made.conv.bias.copy_(example()["b"])  # type: ignore[union-attr]
    return made


def network(**changes: int) -> Pmrf:
    config = replace(PRESETS["slides"], **{"width": 4, "key_width": 8, **changes})
    model = Pmrf(config).eval().requires_grad_(False)
    seed_stand_in(model)
    return model


# --- The worked example ---------------------------------------------------------------------------


def test_window_sums_and_normals():
    known = planes("M")
    assert torch.equal(window_sum(known), planes("window_sum"))
    down, across = central_differences(known)
    length = torch.hypot(down, across).clamp_min(1e-9)
    assert (down / length - planes("ny")).abs().max() <= EXACT
    assert (across / length - planes("nx")).abs().max() <= EXACT


@pytest.mark.parametrize("level", [0, 3])
def test_priorities(level):
    known = planes("M")
    rho = contour(planes("X").mean(1, keepdim=True), known, level)
    priority = window_sum(known) * rho
    assert (rho - planes(f"l{level}/rho")).abs().max() <= EXACT
    assert (priority - planes(f"l{level}/q")).abs().max() <= EXACT
    largest = (priority * (1 - known)).max()
    assert abs(largest - example()[f"l{level}/q_max"]) <= EXACT


@pytest.mark.parametrize("level", [0, 3])
@torch.no_grad()
def test_mask_and_features(level):
    assert example()["delta"] == DELTA
    made, found = layer(level)(planes("X"), planes("M"))
    assert torch.equal(found, planes(f"l{level}/new_mask"))
    assert (made - planes(f"l{level}/out")).abs().max() <= EXACT


@pytest.mark.parametrize("level", [0, 3])
@torch.no_grad()
def test_no_share_asked_for_is_the_ordinary_partial_convolution(level):
    def ordinary(known: Tensor, count: Tensor, priority: Tensor) -> Tensor:
        return mask_update(known, count, priority, delta=0)

    made, found = layer(level)(planes("X"), planes("M"), ordinary)
    assert torch.equal(found, planes("plain_mask"))
    assert (made - planes("plain_out")).abs().max() <= EXACT


@pytest.mark.parametrize("level", [0, 3])
def test_single_precision_decides_alike_away_from_the_threshold(level):
    known = planes("M").float()
    count = window_sum(known)
    priority = count * contour(planes("X").float().mean(1, keepdim=True), known, level)
    found = mask_update(known, count, priority)
    margin = (planes(f"l{level}/q") - DELTA * example()[f"l{level}/q_max"]).abs()
    clear = margin > 1e-4 * example()[f"l{level}/q_max"]
    assert clear.sum() > 200
    assert torch.equal(found[clear], planes(f"l{level}/new_mask").float()[clear])


# --- Mask updates ---------------------------------------------------------------------------------


def slow_update(mean: np.ndarray, known: np.ndarray, level: int) -> np.ndarray:
    """The slides' rule place by place; of an even-sided map, float64."""
    height, width = known.shape

    def at(x: np.ndarray, row: int, column: int) -> float:
        return float(x[min(max(row, 0), height - 1), min(max(column, 0), width - 1)])

    def slopes(x: np.ndarray, row: int, column: int) -> np.ndarray:
        down = at(x, row + 1, column) - at(x, row - 1, column)
        return np.array([down, at(x, row, column + 1) - at(x, row, column - 1)]) / 2

    if level:
        halved = mean.reshape(height // 2, 2, width // 2, 2).mean((1, 3))
        again = torch.nn.functional.interpolate(
            torch.from_numpy(halved)[None, None], scale_factor=2.0, mode="bilinear"
        )
        mean = mean - again[0, 0].numpy()
    count, priority = np.zeros(known.shape), np.zeros(known.shape)
    for row, column in np.ndindex(height, width):
        count[row, column] = known[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].sum()
        normal, slope = slopes(known, row, column), slopes(mean, row, column)
        if not normal.any():
            continue
        normal /= np.linalg.norm(normal)
        turned = np.array([-slope[1], slope[0]]) if level == 0 else slope
        priority[row, column] = count[row, column] * abs(normal @ turned)
    largest = priority[known == 0].max(initial=0)
    found = known.copy()
    for row, column in np.ndindex(height, width):
        reached = count[row, column] > 0 and priority[row, column] >= DELTA * largest - 1e-12
        if reached:
            found[row, column] = 1
    return found


def drawn(seed: int, rows: int, columns: int, cover: float) -> tuple[Tensor, Tensor]:
    """A mean map and what is known, float64; at least one place is."""
    draw = torch.Generator().manual_seed(seed)
    known = (torch.rand(1, 1, 2 * rows, 2 * columns, generator=draw) >= cover).double()
    known[0, 0, seed % (2 * rows), seed % (2 * columns)] = 1
    return torch.randn(known.shape, generator=draw, dtype=torch.float64), known


maps = given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    cover=st.sampled_from([0.1, 0.5, 0.9, 1.0]),
    level=st.integers(0, 3),
    flat=st.booleans(),
)


@settings(deadline=None, max_examples=60)
@maps
def test_update_is_the_rule_place_by_place(seed, rows, columns, cover, level, flat):
    mean, known = drawn(seed, rows, columns, cover)
    mean = torch.ones_like(mean) if flat else mean
    count = window_sum(known)
    found = mask_update(known, count, count * contour(mean, known, level))
    expected = slow_update(mean[0, 0].numpy(), known[0, 0].numpy(), level)
    np.testing.assert_array_equal(found[0, 0].numpy(), expected)


@settings(deadline=None, max_examples=60)
@maps
def test_updates_fill_a_hole_in_finitely_many_steps(seed, rows, columns, cover, level, flat):
    """Whatever the maps: the place of the largest priority is painted, or all that are reached."""
    mean, known = drawn(seed, rows, columns, cover)
    steps = 0
    while not known.all():
        count = window_sum(known)
        found = mask_update(known, count, count * contour(mean * (not flat), known, level))
        assert (found >= known).all()
        assert found.sum() > known.sum()
        known, mean, steps = found, mean.roll(1, 2) * known, steps + 1
    assert steps <= known.numel() - 1


def test_every_sample_has_its_own_largest_priority():
    mean = torch.stack([planes("X").mean(1), 100 * planes("X").mean(1)])
    known = planes("M").expand(2, -1, -1, -1)
    count = window_sum(known)
    found = mask_update(known, count, count * contour(mean, known, 3))
    assert torch.equal(found, planes("l3/new_mask").expand(2, -1, -1, -1))


# --- Filling, fusing, attending -------------------------------------------------------------------


def test_fill_takes_the_mean_of_known_neighbours_ring_by_ring():
    x = torch.tensor([[4.0, 0, 0, 0], [2, 0, 0, 0]])[None, None]
    known = torch.tensor([[1.0, 0, 0, 0], [1, 0, 0, 0]])[None, None]
    made, found = Fill()(x, known)
    assert made[0, 0].tolist() == [[4, 3, 3, 3], [2, 3, 3, 3]]
    assert found.all()


def test_fill_leaves_a_map_without_anything_known():
    made, found = Fill()(torch.zeros(1, 2, 4, 6), torch.zeros(1, 1, 4, 6))
    assert not made.any()
    assert not found.any()


@torch.no_grad()
def test_fusion_is_the_mean_of_what_is_known():
    """Of level 0 itself where no other reaches; of all four where all are known."""
    fusion = Fusion(replace(PRESETS["slides"], width=2)).eval()
    given = [torch.randn(1, 16 >> level, 4 << level, 4 << level) for level in range(4)]
    nothing = [torch.zeros(1, 1, 4 << level, 4 << level) for level in range(4)]
    alone = [torch.ones(1, 1, 4, 4), *nothing[1:]]
    made, found = fusion([given[0], *(0 * x for x in given[1:])], alone)
    assert torch.allclose(made[0], given[0])
    assert all(mask.all() for mask in found)
    made, _ = fusion(given, [None] * 4)
    up = [fusion.ups[f"{level}_3"](x, None)[0] for level, x in enumerate(given[:3])]
    assert torch.allclose(made[3], sum([*up, given[3]]) / 4, atol=1e-6)


@torch.no_grad()
def test_attention_leaves_known_positions_and_takes_of_those_alone():
    attention = Attention(replace(PRESETS["slides"], width=2, key_width=4)).eval()
    given = [torch.randn(1, 16 >> level, 4 << level, 6 << level) for level in range(4)]
    hole = torch.zeros(1, 1, 4, 6)
    hole[:, :, 1:3, 2:4] = 1
    made = attention(given, hole)
    for level, (before, after) in enumerate(zip(given, made, strict=True)):
        inside = hole.repeat_interleave(2**level, 2).repeat_interleave(2**level, 3) > 0
        changed = (before != after).any(1, keepdim=True)
        assert torch.equal(changed, inside)
    weights = attention.weights(attention.keys(given), hole)
    assert torch.allclose(weights.sum(2), torch.ones(1, 24))
    assert not weights[:, :, hole.flatten() > 0].any()
    everything = attention.weights(attention.keys(given), torch.ones_like(hole))
    assert not everything.any()


# --- The network ----------------------------------------------------------------------------------


@torch.no_grad()
def test_updates_tell_when_each_place_was_known():
    model = network()
    image, mask = torch.rand(1, 3, 64, 96), torch.zeros(1, 1, 64, 96)
    mask[:, :, 8:56, 16:80] = 1
    seen: list[Tensor] = []

    def watched(known: Tensor, count: Tensor, priority: Tensor) -> Tensor:
        seen.append(mask_update(known, count, priority))
        return seen[-1]

    packed = native_input(image, mask)
    _, updates = model(packed[:, :3], packed[:, 3:], watched)
    assert len(seen) == 4 * model.config.updates == 40
    for level in range(4):
        own = [found for number, found in enumerate(seen) if number // 2 % 4 == level]
        assert all((later >= earlier).all() for earlier, later in pairwise(own))
        side = 8 >> level
        assert torch.equal(updates[:, level : level + 1, ::side, ::side], sum(own))
    assert updates[:, 3][mask[:, 0] == 0].min() == 10
    assert updates[:, 3][mask[:, 0] == 1].max() < 11


@torch.no_grad()
def test_a_hole_that_updates_do_not_fill_is_filled_all_the_same():
    """One known pixel in a corner of 256×64, and two updates on each level."""
    model = network(masked_stages=1, attended_stages=1)
    known = torch.zeros(1, 1, 64, 256)
    known[:, :, 0, 0] = 1
    fused: list[Tensor] = []
    model.fusions[0].register_forward_hook(lambda _m, _i, made: fused.extend(made[1]))
    painted, updates = model(known.expand(-1, 3, -1, -1), known)
    assert (updates == 0).any()
    assert len(fused) == 4
    assert all(mask.all() for mask in fused)
    assert torch.isfinite(painted).all()


@torch.no_grad()
def test_known_pixels_come_back_bit_for_bit_and_the_hole_is_not_looked_at():
    inpaint = Inpainter(network())
    draw = torch.Generator().manual_seed(1)
    image, other = torch.rand(2, 1, 3, 32, 48, generator=draw)
    mask = torch.zeros(1, 1, 32, 48)
    mask[:, :, 8:28, 4:31] = 1
    filled = inpaint(image, mask)
    known = (mask == 0).expand_as(image)
    assert torch.equal(filled[known], image[known])
    assert not torch.isclose(filled[~known], image[~known]).all()
    assert torch.equal(inpaint(torch.where(known, image, other), mask), filled)
    assert filled[~known].std() > 0.02


@torch.no_grad()
def test_nothing_known_is_no_number_out_of_bounds():
    filled = Inpainter(network())(torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32))
    assert torch.isfinite(filled).all()


def test_the_preset_is_as_wide_as_its_page_says():
    with torch.device("meta"):
        model = Pmrf(PRESETS["slides"])
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == 80.0
    assert [model.config.channels(level) for level in range(4)] == [512, 256, 128, 64]


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match=re.escape("cannot take 36×32: sides are multiples of 8")):
        network()(torch.zeros(1, 3, 32, 36), torch.ones(1, 1, 32, 36))
