"""DFNet's export graph against the reference, on networks of a few channels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rethined_export.models.dfnet import DfNet, DfNetInpainter, native_input
from rethined_export.models.seeded import seed_weights
from rethined_export.recipes.dfnet.graph import Painter, PlainPainter, without_norms

#: Outputs lie in (0, 1). Folding a norm changes each of 18 layers by a few times EPS of its values,
#: which sigmoids then shrink; the gate that every export has to pass is the same.
TOLERANCE = 1e-5
WIDTHS = st.lists(st.integers(1, 8), min_size=8, max_size=8)


def network(widths: list[int], gain: float) -> DfNet:
    model = DfNet(widths).eval().requires_grad_(False)
    seed_weights(model, gain)
    return model


def picture(height: int, width: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 3, height, width, generator=draw)
    return image, (torch.rand(1, 1, height, width, generator=draw) < 0.4).float()


@settings(deadline=None, max_examples=5)
@given(
    widths=WIDTHS,
    gain=st.sampled_from([0.7, 1.4, 2.0]),
    wide=st.sampled_from([256, 512]),
    seed=st.integers(0, 2**31),
)
def test_equals_the_reference(widths, gain, wide, seed):
    """In either order of the colours, and set into the image."""
    model, (image, mask) = network(widths, gain), picture(256, wide, seed)
    x = native_input(image, mask)
    truth = model(x)[0].result
    assert (Painter(model, rgb=False)(x) - truth).abs().max() <= TOLERANCE
    swapped = torch.cat([x[:, :3].flip(1), x[:, 3:]], dim=1)
    assert (Painter(model, rgb=True)(swapped).flip(1) - truth).abs().max() <= TOLERANCE
    made = PlainPainter(model)(image, mask)
    assert (made - DfNetInpainter(model)(image, mask)).abs().max() <= TOLERANCE
    known = (mask == 0).expand_as(image)
    assert torch.equal(made[known], image[known])


def test_nothing_that_is_not_needed_is_left_and_the_reference_is_untouched():
    model = network([6, 5, 7, 8, 4, 4, 5, 6], 1.4)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    made = PlainPainter(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in made.modules())
    assert {name.split(".")[2] for name in made.state_dict() if "fuse_" in name} == {"fuse_0"}
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_operators_are_those_that_every_target_takes():
    """Enlarged by nearest neighbours alone, nothing shrunk, nothing of more than rank 4."""
    exported = torch.export.export(
        PlainPainter(network([2] * 8, 1.4)).eval(), picture(256, 256, 0)
    ).run_decompositions({})
    names = set()
    for node in exported.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            assert value.dim() <= 4, node
        names.add(str(node.target))
    assert not any(word in name for name in names for word in ("norm", "bilinear", "flip"))


def test_only_norms_behind_convolutions_are_folded():
    with pytest.raises(AssertionError):
        without_norms(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)))
