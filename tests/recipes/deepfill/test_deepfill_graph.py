"""DeepFill rewritten for one size against the plain network, a few channels wide."""

import pytest
import torch

from rethined_export.models.deepfill import PRESETS, ContextualAttention, DeepfillInpainter
from rethined_export.parity.report import REWRITE_GATE
from rethined_export.photo.window import Window
from rethined_export.recipes.deepfill.graph import rewritten
from rethined_export.recipes.types import scene
from tests.guests import narrow_deepfill

every_preset = pytest.mark.parametrize("preset", PRESETS)


@every_preset
@pytest.mark.parametrize(("height", "width"), [(72, 104), (96, 80)])
def test_equals_the_network(preset, height, width):
    """Within the gate that every export has to pass."""
    model, (image, mask) = (
        narrow_deepfill(preset).model.network,
        scene(Window(height, width)).values(),
    )
    expected = DeepfillInpainter(model)(image, mask)
    made = DeepfillInpainter(rewritten(model, height, width))(image, mask)
    assert (made - expected).abs().max() <= REWRITE_GATE
    assert torch.equal(DeepfillInpainter(model)(image, mask), expected), "the network was changed"


@pytest.mark.parametrize("preset", ["v2-tf", "v2-mmagic"])
def test_operators_are_those_that_every_target_takes(preset):
    """No kernel made at run time, no gather or scatter, no folding, nothing of more than rank 4,
    and no constant above 1 MB but weights."""
    size = Window(128, 136)
    graph = DeepfillInpainter(rewritten(narrow_deepfill(preset).model.network, *size)).eval()
    assert not any(isinstance(module, ContextualAttention) for module in graph.modules())
    made = torch.export.export(graph, tuple(scene(size).values())).run_decompositions({})
    weights = {name for name, _ in graph.named_parameters()}
    for name, tensor in made.state_dict.items():
        assert name in weights or tensor.numel() * 4 <= 2**20, name
    unwanted = ("index", "gather", "scatter", "im2col", "col2im", "arange", "eye", "reflection")
    for node in made.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            assert value.dim() <= 4, node
        if node.op != "call_function":
            continue
        operator = str(node.target)
        assert not any(name in operator for name in unwanted), node
        if "convolution" in operator or "conv2d" in operator:
            assert node.args[1].op == "placeholder", "a kernel that is computed"


def test_constants_do_not_grow_with_the_table():
    """At the default size the tables of all positions have 16 million entries."""
    buffers = dict(rewritten(narrow_deepfill("v2-mmagic").model.network, 512, 512).named_buffers())
    assert sum(tensor.numel() for tensor in buffers.values()) * 4 <= 2**17


@pytest.mark.parametrize(("preset", "size"), [("v2-tf", (60, 64)), ("v1-mmagic", (64, 72))])
def test_sizes_that_the_network_refuses_are_refused(preset, size):
    with pytest.raises(ValueError, match="cannot take"):
        rewritten(narrow_deepfill(preset).model.network, *size)
