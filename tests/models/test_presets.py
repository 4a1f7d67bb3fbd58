"""Sizes of the presets."""

import copy

import pytest

from rethined_export.models.rethined import (
    PATCH,
    PRESETS,
    VARIANTS,
    Rethined,
    preset_config,
    reparameterise,
)
from rethined_export.models.rethined.config import PATCH_SIZE

every_variant = pytest.mark.parametrize("variant", VARIANTS)


def parameters(model: Rethined) -> int:
    """Deployed parameters: the training branches folded."""
    deployed = copy.deepcopy(model)
    reparameterise(deployed)
    return sum(parameter.numel() for parameter in deployed.parameters())


@every_variant
def test_mobile_keeps_to_the_headline_figure(variant):
    count = parameters(Rethined(preset_config("mobile", variant)))
    assert 1_000_000 < count <= 4_300_000


@pytest.mark.slow
@pytest.mark.parametrize("variant,least,most", [("paper", 16e6, 22e6), ("published", 30e6, 70e6)])
def test_paper_preset_is_of_the_papers_order(variant, least, most):
    """The paper prints 16.9 M to 18.3 M; the published decoder is as wide as its skips."""
    assert least < parameters(Rethined(preset_config("paper", variant))) < most


@every_variant
@pytest.mark.parametrize("preset", PRESETS)
def test_configurations_fit_together(preset, variant):
    config = preset_config(preset, variant)
    assert (config.preset, config.variant, config.deployed) == (preset, variant, False)
    assert len(config.widths) == len(config.blocks) == len(config.squeeze_excite) == 5
    assert all(
        gates <= 2 * n for gates, n in zip(config.squeeze_excite, config.blocks, strict=True)
    )
    assert config.token_size == PATCH_SIZE + config.widths[config.feature_stage]
    assert PATCH_SIZE == 3 * PATCH**2


@pytest.mark.parametrize("preset", PRESETS)
def test_published_has_the_published_decoder(preset):
    assert preset_config(preset, "published").decoder == "transposed"


def test_published_paper_preset_repairs_the_printed_shapes():
    """Skips of MobileOne-S4 and the channels of the stage that is read."""
    config = preset_config("paper", "published")
    assert config.decoder_widths == (896, 448, 192, 64) == config.widths[3::-1]
    assert (config.feature_stage, config.widths[2], config.d_k) == (2, 448, 576)


@every_variant
def test_fields_of_the_published_attention(variant):
    """Only the published variant projects values and results."""
    state = Rethined(preset_config("mobile", variant)).state_dict()
    names = {name.split(".")[2] for name in state if "multihead_attention" in name}
    extra = {"w_vs", "fc"} if variant == "published" else set()
    assert names == {"w_qs", "w_ks"} | extra
