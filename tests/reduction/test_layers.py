"""Kernels laid on places give what torch gives, for every kind of layer."""

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rethined_export.reduction.layers import Layer, layers_of

#: Channels, in two parts, of which one may be empty.
HALVES = (slice(0, 2), slice(2, None))


def found(module: nn.Module, x: Tensor) -> list[Layer]:
    with torch.no_grad():
        graph = torch.export.export(module.eval(), (x,)).module(check_guards=False)
    return [layer for _, layer in layers_of(graph)]


def laid(layer: Layer, x: Tensor) -> Tensor:
    """What a layer gives at all places, ``[G · O, P]``."""
    halves = (layer.kernels[:, :, part] for part in HALVES)
    seen = (layer.places(x, part, 10**9) for part in HALVES)
    made = sum(
        torch.einsum("gochw,phwgc->gop", *both) for both in zip(halves, seen, strict=True)
    ).flatten(0, 1)
    return made if layer.bias is None else made + layer.bias[:, None]


@st.composite
def convolutions(draw: st.DrawFn) -> nn.Module:
    turned = draw(st.booleans())
    groups = draw(st.integers(1, 3))
    side, stride = (draw(st.tuples(st.integers(1, 4), st.integers(1, 3))) for _ in range(2))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    facts: dict[str, Any] = {
        "stride": stride,
        "dilation": dilation,
        "padding": draw(st.tuples(st.integers(0, 3), st.integers(0, 3))),
        "groups": groups,
        "bias": draw(st.booleans()),
    }
    if turned:
        most = [max(s, d) - 1 for s, d in zip(stride, dilation, strict=True)]
        facts["output_padding"] = tuple(draw(st.integers(0, one)) for one in most)
    kind = nn.ConvTranspose2d if turned else nn.Conv2d
    return kind(groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3)), side, **facts)


@settings(deadline=None, max_examples=60)
@given(module=convolutions(), batch=st.integers(1, 2), seed=st.integers(0, 2**31))
def test_convolutions(module: nn.Module, batch: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, int(module.in_channels), 9, 11, generator=random)
    with torch.no_grad():
        (layer,) = found(module, x)
        torch.testing.assert_close(
            laid(layer, x), module(x).transpose(0, 1).flatten(1), rtol=1e-4, atol=1e-5
        )


class Named(nn.Module):
    """One image without a batch, and arguments by name."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(4, 2, 3, 3)), nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(input=x, weight=self.weight, bias=self.bias, padding=1)


def test_an_image_alone() -> None:
    module, x = Named(), torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        (layer,) = found(module, x)
        torch.testing.assert_close(laid(layer, x), module(x).flatten(1))


def test_linear_layers() -> None:
    module, x = nn.Linear(6, 4), torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        (layer,) = found(module, x)
        torch.testing.assert_close(laid(layer, x), module(x).flatten(0, 1).T)


def test_kernels_are_the_weights_themselves() -> None:
    """What is rounded is what is converted."""
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ConvTranspose2d(4, 2, 3, groups=2))
    with torch.no_grad():
        for layer in found(module, torch.zeros(1, 2, 8, 8)):
            layer.kernels.zero_()
    assert all(not layer.weight.any() for layer in module)


def test_few_places_of_many_are_the_same_again() -> None:
    x = torch.randn(1, 2, 40, 40, generator=torch.Generator().manual_seed(3))
    (layer,) = found(nn.Conv2d(2, 2, 3), x)
    seen, again = (layer.places(x, slice(None), 50) for _ in range(2))
    assert seen.shape == (50, 3, 3, 1, 2)
    assert torch.equal(seen, again)


class Filtered(nn.Module):
    """A fixed filter, weights that are computed, and a product of two images."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("blur", torch.ones(1, 1, 3, 3))
        self.weight = nn.Parameter(torch.ones(1, 1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        made = torch.conv2d(torch.conv2d(x, self.blur), self.weight * 2)
        return torch.nn.functional.linear(made, made[0, 0])


def test_what_nobody_trained_is_no_layer() -> None:
    assert not found(Filtered(), torch.zeros(1, 1, 9, 9))
