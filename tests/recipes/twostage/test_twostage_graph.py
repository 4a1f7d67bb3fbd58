"""The two-stage system's export graph against the reference, on networks of a few channels."""

import pytest
import torch
from torch import nn

from rethined_export.models.twostage import TwoStageInpainter
from rethined_export.photo.window import Window
from rethined_export.recipes.twostage import RECIPE
from rethined_export.recipes.twostage.graph import WholeGraph
from rethined_export.recipes.twostage.options import TwoStageOptions
from rethined_export.recipes.types import TorchRunner
from tests.guests import narrow_two_stage

#: The gate that every export has to pass; both networks end in a sigmoid.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def inpainter() -> TwoStageInpainter:
    model = narrow_two_stage().model
    assert isinstance(model, TwoStageInpainter)
    return model


def picture(height: int, width: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 3, height, width, generator=draw)
    return image, (torch.rand(1, 1, height, width, generator=draw) < 0.4).float()


@pytest.mark.parametrize("size", [(256, 256), (512, 768), (1536, 256)])
@torch.no_grad()
def test_equals_the_reference(inpainter, size):
    """Whole and as a pair; 1536 rows move copies by 300, more than 256 columns."""
    image, mask = picture(*size, sum(size))
    truth = inpainter(image, mask)
    made = WholeGraph(inpainter.networks, Window(*size))(image, mask)
    options = TwoStageOptions(size=f"{size[1]}x{size[0]}", io="native")
    programs = {p: TorchRunner(RECIPE.program(options, inpainter, p)) for p in ("coarse", "refine")}
    pair = RECIPE.caller(options, programs)(image=image.numpy(), mask=mask.numpy())["output"]
    known = (mask == 0).expand_as(image)
    for filled in (made, torch.from_numpy(pair)):
        assert (filled - truth).abs().max() <= TOLERANCE
        assert torch.equal(filled[known], image[known])


@pytest.mark.parametrize("size", ["768x512", "1024x1024"])
def test_operators_are_those_that_every_target_takes(inpainter, size):
    """No gather, no norm, no slice of everything, nothing of more than rank 4."""
    program = RECIPE.program(TwoStageOptions(size=size), inpainter, "whole")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in program.module.modules())
    exported = torch.export.export(
        program.module, tuple(program.inputs.values())
    ).run_decompositions({})
    names = set()
    for node in exported.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            assert value.dim() <= 4, node
        names.add(str(node.target))
    unwanted = ("norm", "index.", "gather", "flip", "alias")
    assert not any(word in name for name in names for word in unwanted)


def test_letterbox_of_whole_steps_holds_no_constant(inpainter):
    """A square of 1024 is every second pixel; what is left is weights."""
    graph = WholeGraph(inpainter.networks, Window(1024, 1024))
    assert not dict(graph.named_buffers())
    largest = WholeGraph(inpainter.networks, Window(1792, 1536))
    assert max(4 * x.numel() for x in largest.buffers()) < 4 << 20
