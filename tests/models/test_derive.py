"""What is told from tensors alone: shapes, sizes, variants; and what is said of the rest."""

import resource
from dataclasses import replace

import pytest
import torch
from small import small_config, small_model
from torch import Tensor

from rethined_export.models.rethined import (
    AUTHORS,
    DIALECTS,
    CheckpointError,
    Rethined,
    from_tensors,
    preset_config,
)

HEAD = "generator.multihead_attention"
State = dict[str, Tensor]


@pytest.fixture
def state() -> State:
    model = small_model(small_config("published"))
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def refusal(state: State, variant: str = "published") -> str:
    """The message of the error that it must raise: one line."""
    with pytest.raises(CheckpointError) as caught:
        from_tensors(state, "mobile", variant)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- Shapes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"stage_branches": (1, 2, 2, 2, 2)},
        {"stage_branches": (3, 1, 2, 4, 1), "branches": 1},
        {"coherence": False},
        {"feature_stage": None},
        {"feature_stage": None, "coherence": False},
    ],
)
def test_options_of_the_authors_constructor_are_told(change):
    config = small_config("published", **change)
    state = small_model(config).state_dict()
    made = from_tensors(state, "mobile", "published")
    assert made.model.config == replace(config, preset="mobile")
    loaded = made.model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    said = {line.split(" = ")[0] for line in made.derived}
    assert said >= {name for name in change if name != "branches"}


def test_branches_of_apples_s0_in_every_stage():
    """One in stage 0, four in every other block, as its mobile preset is published."""
    config = replace(preset_config("mobile", "published"), stage_branches=(1, 4, 4, 4, 4))
    made = from_tensors(Rethined(config).state_dict(), "mobile", "published")
    assert made.model.config == config
    assert made.derived == ("stage_branches = (1, 4, 4, 4, 4) (preset mobile: ())",)


def test_without_coherence_layer_nothing_bounds_the_image():
    """No convolution and no sigmoid: known tokens enter as high frequencies and stay such."""
    model = small_model(small_config("published", coherence=False))
    image = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output = model(image, torch.zeros(1, 1, 512, 512)).output
    assert output.min() < 0
    assert output.mean().abs() < 1e-3


# --- Sizes that are not supported -------------------------------------------------------------


@pytest.mark.parametrize(
    "name,shape",
    [
        ("qk_mask", (1, 1, 1024, 1024)),
        ("mask_query", (1, 1024, 1, 1)),
        ("positionalencoding", (1, 1024, 224)),
    ],
)
def test_another_resolution_is_refused_by_name(state, name, shape):
    state[f"generator.{name}"] = torch.zeros(1).expand(shape)
    message = refusal(state)
    assert f"trained at 256×256 (generator.{name} is for 1024 tokens)" in message
    assert "512×512" in message


@pytest.mark.parametrize("shape", [(1, 4096, 224), (4096, 224), (1, 224, 64, 64), (1, 1, 1)])
def test_an_unused_positional_encoding_is_ignored(state, shape):
    state["generator.positionalencoding"] = torch.zeros(1).expand(shape)
    assert from_tensors(state, "mobile", "published").model.config.d_k == 16


def test_other_patches_are_refused_by_name(state):
    for name in ("w_vs", "fc"):
        state[f"{HEAD}.{name}.weight"] = torch.zeros(768, 768)
    state["generator.qk_mask"] = torch.zeros(1).expand(1, 1, 1024, 1024)
    message = refusal(state)
    assert "patches of 16×16 (kernel_size" in message
    assert "only 8×8" in message


def test_several_heads_are_refused_by_name(state):
    state[f"{HEAD}.w_vs.weight"] = torch.zeros(384, 192)
    state[f"{HEAD}.fc.weight"] = torch.zeros(192, 384)
    assert "2 attention heads (nheads)" in refusal(state)


def test_numbers_of_another_kind_are_refused_by_name(state):
    name = f"{HEAD}.w_qs.weight"
    state[name] = state[name].to(torch.int8)
    assert f"{name} is torch.int8" in refusal(state)


# --- Variants ---------------------------------------------------------------------------------


def test_wide_weights_take_no_memory_before_they_are_known_to_fit(state):
    """Two small tensors that call for a convolution of 10^10 numbers."""
    for name in ("stage3.1", "stage4.1"):
        wide = state[f"coarse_model.model.{name}.rbr_conv.0.conv.weight"]
        state[f"coarse_model.model.{name}.rbr_conv.0.conv.weight"] = wide[:1].expand(
            100_000, *wide.shape[1:]
        )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "misshapen" in refusal(state)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


def test_weights_of_too_few_dimensions_are_refused(state):
    state[f"{HEAD}.w_qs.weight"] = state[f"{HEAD}.w_qs.weight"][0]
    assert "a weight of more dimensions is missing" in refusal(state)


def test_the_variant_to_ask_for_is_named(state):
    paper = small_model(small_config("paper")).state_dict()
    assert refusal(state, "paper").endswith("try --variant published")
    assert refusal(paper, "published").endswith("try --variant paper")
    assert refusal(paper, "copy").endswith("try --variant paper")
    assert refusal(state, "copy").endswith("try --variant published")


def test_no_other_variant_is_suggested_where_none_fits(state):
    del state["coarse_model.d0.bias"]
    assert "--variant" not in refusal(state)


def test_what_was_found_instead_is_named():
    other = {f"net.{i}.weight": torch.zeros(2, i + 1) for i in range(5)}
    message = refusal(other)
    assert "0 of its 5 tensors have names this model uses" in message
    assert "net.0.weight (2, 1), net.1.weight (2, 2), net.2.weight (2, 3) and 2 more" in message


def test_numbers_of_another_network_are_not_judged():
    """A counter or a scalar of a network that is not ours is no reason of its own."""
    other = {"steps": torch.tensor(3), "net.weight": torch.full((2,), torch.nan)}
    assert "not a RETHINED checkpoint" in refusal(other)
    assert refusal({}) == "not a RETHINED checkpoint: it holds no tensors"


def test_an_early_model_of_the_copys_repository_stays_refused(state):
    """It has the authors' names and another forward pass; only its blur's taps tell."""
    state["generator.final_gaussian_blur.kernel_h"] = torch.zeros(1, 1, 1, 7)
    assert "unexpected: generator.final_gaussian_blur.kernel_h" in refusal(state)


# --- What the tensors do not tell -------------------------------------------------------------


def test_what_published_weights_do_not_tell_is_noted(state):
    made = from_tensors(state, "mobile", "published")
    assert len(made.notes) == 1
    assert "use_argmax" in made.notes[0] and "--context full" in made.notes[0]
    asked = from_tensors(state, "mobile", "published", DIALECTS["mikanquyt"])
    assert asked.model.config.dialect == DIALECTS["mikanquyt"]
    assert "MikanQuyt/Rethined does, as asked" in asked.notes[0]
    paper = small_model(small_config("paper")).state_dict()
    assert from_tensors(paper, "mobile", "paper").notes == ()


@pytest.mark.parametrize("variant", ["paper", "copy"])
def test_dialects_are_of_the_published_variant(state, variant):
    with pytest.raises(ValueError, match="published variant"):
        from_tensors(state, "mobile", variant, DIALECTS["mikanquyt"])


def test_the_authors_dialect_changes_nothing():
    assert DIALECTS["authors"] == AUTHORS
    assert preset_config("paper", "published").dialect == AUTHORS
