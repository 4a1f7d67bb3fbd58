"""LaMa rewritten for one size against the plain network."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from rethined_export.models.lama import PRESETS, Inpainter, Lama
from rethined_export.models.seeded import seed_weights
from rethined_export.recipes.lama.graph import rewritten

PLAIN_AND_FOURIER = ("fourier", "dilated", "regular")


def small(preset: str) -> Lama:
    model = Lama(replace(PRESETS[preset], width=8, blocks=2)).eval()
    seed_weights(model, gain=1.0)
    return model


def scene(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(height * width)
    image = torch.rand(1, 3, height, width, generator=draw)
    return image, (torch.rand(1, 1, height, width, generator=draw) < 0.3).float()


@pytest.mark.parametrize("preset", PLAIN_AND_FOURIER)
@pytest.mark.parametrize("size", [(96, 160), (72, 88), (128, 72)])
@torch.no_grad()
def test_equals_the_network(preset, size):
    """Maps of even and odd sides; within the gate that every export has to pass, 1e-5."""
    model = small(preset)
    image, mask = scene(*size)
    expected = Inpainter(model)(image, mask)
    made = Inpainter(rewritten(model, *size))(image, mask)
    assert (made - expected).abs().max() <= 1e-5
    assert torch.equal(Inpainter(model)(image, mask), expected), "the network was changed"
    known = (mask == 0).expand_as(image)
    assert torch.equal(made[known], image[known])


@torch.no_grad()
def test_smallest_map():
    """Two pixels a side, both of whose neighbours are reflections of each other."""
    model = small("fourier")
    image, mask = scene(16, 16)
    made = Inpainter(rewritten(model, 16, 16))(image, mask)
    assert (made - Inpainter(model)(image, mask)).abs().max() <= 1e-5


@pytest.mark.parametrize("preset", PLAIN_AND_FOURIER)
def test_operators_are_those_that_every_target_takes(preset):
    """No Fourier transform, no complex number, no batch norm, nothing of more than rank 4."""
    size = (72, 104)
    graph = rewritten(small(preset), *size)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in graph.modules())
    exported = torch.export.export(Inpainter(graph).eval(), scene(*size)).run_decompositions({})
    for node in exported.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            assert value.dim() <= 4, node
            assert not value.is_complex(), node
        assert "fft" not in str(node.target)


def test_units_share_their_matrices():
    buffers = dict(rewritten(small("fourier"), 64, 64).named_buffers())
    assert len(buffers) == 4


@pytest.mark.parametrize(("preset", "size"), [("fourier", (60, 64)), ("dilated", (64, 72))])
def test_sizes_that_the_network_refuses_are_refused(preset, size):
    with pytest.raises(ValueError, match="cannot take"):
        rewritten(small(preset), *size)
