"""A recorded loss is the loss: the same numbers, whichever way its kernels are launched."""

import copy

import pytest
import torch
from torch import nn

from rethined_export.models.rethined.training.critic import Critic
from rethined_export.models.rethined.training.objective import Judges, Objective
from rethined_export.models.rethined.training.recording import Differentiated
from rethined_export.models.rethined.training.samples import Batch
from rethined_export.models.rethined.training.settings import Settings, Stage
from rethined_export.models.rethined.training.start import new_model


def test_gradients_are_those_of_the_last_call_alone() -> None:
    layer = nn.Linear(3, 1)
    loss = Differentiated(lambda x: (layer(x).sum(), x), layer.parameters(), recorded=False)
    for scale in (1.0, 2.0):
        value, given = loss(torch.full((1, 3), scale))
        assert not value.requires_grad
        assert torch.equal(given, torch.full((1, 3), scale))
        assert torch.equal(layer.weight.grad, torch.full((1, 3), scale))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="recordings are a GPU's")
@pytest.mark.parametrize(("part", "side"), [("coarse", 64), ("whole", 512)])
def test_a_recording_gives_what_launching_gives(part: str, side: int) -> None:
    """On images that it was not recorded on; to the rounding of sums in another order."""
    stage = Stage(part, side, 2, 10, 1e-3, critic=1.0)  # type: ignore[arg-type]
    torch.manual_seed(0)
    begun = new_model(Settings(stages=())).cuda()
    critic = Critic().cuda()
    inputs = []
    for _ in range(2):
        mask = torch.zeros(2, 1, side, side, device="cuda")
        mask[:, :, side // 4 : side // 2, side // 4 : side // 2] = 1
        inputs.append((torch.rand(2, 3, side, side, device="cuda"), mask))
    found = []
    for recorded in (False, True):
        model = copy.deepcopy(begun)
        objective = Objective(model, stage, False, Judges(critic))
        trained = [p for p in model.parameters() if p.requires_grad]
        loss = Differentiated(
            lambda image, mask, o=objective: o(Batch(image, mask)), trained, recorded
        )
        loss(*inputs[0])
        value, judged = loss(*inputs[1])
        slope = torch.cat([p.grad.flatten() for p in trained])
        found.append((value.clone(), judged.clone(), slope))
    (value, judged, slope), (other, other_judged, other_slope) = found
    assert float(other) == pytest.approx(float(value), rel=1e-3)
    assert torch.allclose(judged, other_judged, atol=1e-3)
    assert float((slope - other_slope).norm() / slope.norm()) < 1e-2
