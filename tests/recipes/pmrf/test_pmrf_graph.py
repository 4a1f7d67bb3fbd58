"""The exported parallel multi-resolution network against the plain one, and its parts."""

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rethined_export.models.pmrf import (
    PRESETS,
    Attention,
    Fill,
    Layer,
    Pmrf,
    mask_update,
    native_input,
    seed_stand_in,
)
from rethined_export.models.seeded import seed_weights
from rethined_export.recipes.pmrf.graph import (
    MaskedLayer,
    Planes,
    RewrittenAttention,
    UnrolledFill,
    WholeLayer,
    rewritten,
)
from tests.twins import assert_within

SMALL = replace(PRESETS["slides"], width=4, key_width=8)
sides = st.integers(2, 6)
seeds = st.integers(0, 2**31)
covers = st.sampled_from([0.1, 0.5, 0.9, 0.98])


def network(**changes: int) -> Pmrf:
    model = Pmrf(replace(SMALL, **changes)).eval().requires_grad_(False)
    seed_stand_in(model)
    return model


def drawn(seed: int, cover: float, channels: int, *size: int) -> tuple[Tensor, Tensor]:
    """A map that is 0 where unknown, and what is known."""
    draw = torch.Generator().manual_seed(seed)
    known = (torch.rand(1, 1, *size, generator=draw) >= cover).float()
    known[0, 0, seed % size[0], seed % size[1]] = 1
    return torch.randn(1, channels, *size, generator=draw) * known, known


def layers(level: int, stride: int, rows: int, columns: int) -> tuple[Layer, MaskedLayer]:
    plain = Layer(3, 3, level, stride).eval().requires_grad_(False)
    seed_weights(plain, 1.0)
    return plain, MaskedLayer(plain.partial, Planes(level, 2 * rows, 2 * columns)).eval()


@settings(deadline=None, max_examples=8)
@given(seed=seeds, rows=st.integers(4, 7), columns=st.integers(4, 7), cover=covers)
@torch.no_grad()
def test_equals_the_network(seed, rows, columns, cover):
    """Sums of up to 9·32 terms through thirty layers, each normalised; 2e-6 was seen. Both decide
    as the first did, since a rounding may decide at the threshold."""
    size = 8 * rows, 8 * columns
    image, known = drawn(seed, cover, 3, *size)
    model, given_masks = network(masked_stages=2, attended_stages=2), []

    def kept(known: Tensor, count: Tensor, priority: Tensor) -> Tensor:
        given_masks.append(mask_update(known, count, priority))
        return given_masks[-1]

    expected, updates = model(image, known, kept)
    masks = iter(given_masks)
    made, found = rewritten(model, *size)(image, known, lambda *_: next(masks))
    assert torch.equal(found, updates)
    assert_within(made, expected, 1e-5)


@settings(deadline=None, max_examples=40)
@given(
    seed=seeds, rows=sides, columns=sides, cover=covers, level=st.integers(0, 3),
    stride=st.sampled_from([1, 2]),
)  # fmt: skip
@torch.no_grad()
def test_layer_equals_the_plain_one(seed, rows, columns, cover, level, stride):
    """Values of about 1 after the norm; deviations of few places magnify roundings by up to
    1/√epsilon, where all values are nearly equal."""
    plain, twin = layers(level, stride, rows, columns)
    x, known = drawn(seed, cover, 3, 2 * rows, 2 * columns)
    expected, found = plain(x, known)
    made, seen = twin(x, known)
    assert torch.equal(seen, found)
    assert_within(made, expected, 1e-4)
    assert not made[(seen == 0).expand_as(made)].any()


@settings(deadline=None, max_examples=40)
@given(seed=seeds, rows=sides, columns=sides, cover=covers, level=st.integers(0, 3))
@torch.no_grad()
def test_updates_unrolled_are_those_of_a_loop(seed, rows, columns, cover, level):
    """A loop until nothing is unknown, against as many layers as there can be steps; a step more
    changes nothing. Each reads the same maps."""
    plain, twin = layers(level, 1, rows, columns)
    x, first = drawn(seed, cover, 3, 2 * rows, 2 * columns)
    known, steps = first, 0
    while not known.all():
        _, known = plain(x, known)
        steps += 1
    assert steps < first.numel()
    unrolled = first
    for _ in range(steps):
        _, unrolled = twin(x, unrolled)
    assert unrolled.all()
    assert twin(x, unrolled)[1].all()


@settings(deadline=None, max_examples=60)
@given(seed=seeds, rows=st.integers(1, 9), columns=st.integers(1, 9), cover=covers)
def test_filling_unrolled_is_the_loop(seed, rows, columns, cover):
    """Means of at most eight values that are at most as large as the largest given; each ring adds
    its roundings to those it reads."""
    x, known = drawn(seed, cover, 2, rows, columns)
    expected, found = Fill()(x, known)
    made, seen = UnrolledFill(2, rows, columns)(x, known)
    assert torch.equal(seen, found)
    assert seen.all()
    assert_within(made, expected, 1e-6 * max(rows, columns) * max(1.0, x.abs().max().item()))


def test_filling_nothing_gives_nothing():
    made, seen = UnrolledFill(2, 4, 6)(torch.zeros(1, 2, 4, 6), torch.zeros(1, 1, 4, 6))
    assert not made.any()
    assert not seen.any()


@settings(deadline=None, max_examples=30)
@given(seed=seeds, rows=sides, columns=sides, cover=st.sampled_from([0.0, 0.3, 1.0]))
@torch.no_grad()
def test_attention_equals_the_plain_one(seed, rows, columns, cover):
    """Scores of up to 10, so weights within 10·72 roundings of theirs; maps of about 1."""
    plain = Attention(SMALL).eval()
    seed_weights(plain, 1.0)
    draw = torch.Generator().manual_seed(seed)
    maps = [
        torch.randn(1, SMALL.channels(level), rows << level, columns << level, generator=draw)
        for level in range(4)
    ]
    hole = (torch.rand(1, 1, rows, columns, generator=draw) < cover).float()
    pairs = zip(RewrittenAttention(plain)(maps, hole), plain(maps, hole), strict=True)
    for made, expected in pairs:
        assert_within(made, expected, 1e-4)


@torch.no_grad()
def test_a_layer_of_known_places_needs_no_bias():
    plain = Layer(3, 5, level=2).eval()
    x = torch.randn(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    made, known = WholeLayer(plain.partial.conv)(x, None)
    assert known is None
    assert_within(made, plain(x, None)[0], 1e-5)


def test_the_network_is_not_changed():
    model = network(masked_stages=1, attended_stages=1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    rewritten(model, 32, 32)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    packed = native_input(torch.rand(1, 3, 40, 32), torch.zeros(1, 1, 40, 32))
    model(packed[:, :3], packed[:, 3:])
