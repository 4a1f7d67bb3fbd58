"""The exported context encoder against the plain one."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rethined_export.models.context_encoder import ContextEncoder, ContextEncoderConfig
from rethined_export.models.seeded import seed_weights
from rethined_export.recipes.context_encoder.graph import rewritten

#: In (-1, 1): eleven layers of sums of up to 16·64 terms, folded or not; measured 5e-7.
TOLERANCE = 1e-5


def network(width: int, bottleneck: int, gain: float) -> ContextEncoder:
    model = ContextEncoder(ContextEncoderConfig("narrow", width, bottleneck)).eval()
    seed_weights(model, gain)
    return model.requires_grad_(False)


@settings(deadline=None, max_examples=15)
@given(
    width=st.integers(1, 6),
    bottleneck=st.integers(1, 40),
    gain=st.sampled_from([0.5, 1.0, 1.4]),
    seed=st.integers(0, 2**31),
)
def test_equals_the_network(width, bottleneck, gain, seed):
    model = network(width, bottleneck, gain)
    x = 2 * torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(seed)) - 1
    assert (rewritten(model)(x) - model(x)).abs().max() <= TOLERANCE


def test_batch_norms_are_gone_and_the_network_is_not_changed():
    model = network(2, 3, 1.0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    made = rewritten(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in made.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
