"""MI-GAN's export graph against the reference, on networks of a few channels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rethined_export.models.migan import (
    MiGan,
    MiGanConfig,
    MiGanInpainter,
    fixed_keys,
    native_input,
)
from rethined_export.models.migan.blocks import LIMIT, SeparableConv, Upsample
from rethined_export.models.seeded import seed_weights
from rethined_export.recipes.migan.graph import rewritten, rewritten_generator

#: Of the output's largest value: a sum of 9 terms, one of up to 16, one of 9 at each of 18
#: convolutions in a row, and a product with √2 twice, at EPS/2 each, if all errors added up.
TOLERANCE = 18 * (9 + 16 + 9 + 2) * torch.finfo(torch.float32).eps / 2


def network(side: int, channels: int, gain: float) -> MiGan:
    """Seeded, a few channels wide."""
    model = MiGan(MiGanConfig("tiny", side, channel_max=channels)).eval().requires_grad_(False)
    seed_weights(model, gain, fixed_keys(model))
    return model


def picture(side: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 3, side, side, generator=generator)
    return image, (torch.rand(1, 1, side, side, generator=generator) < 0.4).float()


@settings(deadline=None, max_examples=20)
@given(
    side=st.sampled_from([8, 16, 32]),
    channels=st.sampled_from([1, 5, 16]),
    gain=st.sampled_from([0.5, 1.0, 2.0]),
    seed=st.integers(0, 2**31),
)
def test_equals_the_reference(side, channels, gain, seed):
    model, x = network(side, channels, gain), native_input(*picture(side, seed))
    plain, made = model(x), rewritten_generator(model)(x)
    assert (made - plain).abs().max() <= TOLERANCE * plain.abs().max()


def test_limits_act_where_the_reference_has_them():
    """Weights so large that activations run into ±256, which they must do at the same place."""
    model, x = network(16, 8, 40.0), native_input(*picture(16, 3))
    seen = []
    hook = model.synthesis.get_submodule("b16.conv2").register_forward_hook(
        lambda _module, _inputs, output: seen.append(output)
    )
    plain, made = model(x), rewritten_generator(model)(x)
    hook.remove()
    assert (seen[0].abs() == LIMIT).any()
    assert (made - plain).abs().max() <= TOLERANCE * plain.abs().max()


def test_inpainter_keeps_known_pixels_bit_for_bit():
    model, (image, mask) = network(32, 8, 1.0), picture(32, 4)
    made = rewritten(model)(image, mask)
    known = (mask == 0).expand_as(image)
    assert torch.equal(made[known], image[known])
    assert (made - MiGanInpainter(model)(image, mask)).abs().max() <= TOLERANCE
    assert not known.all()


def test_nothing_of_the_plain_form_is_left_and_the_reference_is_untouched():
    model = network(16, 4, 1.0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    made = rewritten(model)
    plain = (SeparableConv, Upsample)
    assert not any(isinstance(module, plain) for module in made.modules())
    assert sum(isinstance(module, plain) for module in model.modules()) > 10
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_uneven_filters_cannot_be_rewritten():
    model = network(8, 2, 1.0)
    model.synthesis.get_submodule("b8.upsample.filter").weight[0, 0, 1, 1] += 0.1
    with pytest.raises(ValueError, match="even and odd outputs differently"):
        rewritten(model)
