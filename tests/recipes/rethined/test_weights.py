"""Checkpoints: every accepted form, what is derived from them, and how bad files are refused."""

import hashlib
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from small import WIDTHS, small_config, small_model
from torch import Tensor, nn

from rethined_export.checkpoints import CheckpointError
from rethined_export.models.rethined import VARIANTS, Rethined, preset_config, reparameterise
from rethined_export.recipes.rethined.weights import Loaded, load_checkpoint

State = dict[str, Tensor]

ENDINGS = ["pth", "pt", "ckpt", "safetensors"]
QUERIES = "generator.multihead_attention.w_qs.weight"
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def save(path: Path, content: object) -> Path:
    if path.suffix == ".safetensors":
        save_file({key: tensor.contiguous() for key, tensor in content.items()}, path)
    else:
        torch.save(content, path)
    return path


def load(path: Path, variant: str = "paper") -> Loaded:
    return load_checkpoint(path, "mobile", variant)


def refusal(path: Path, variant: str = "paper") -> str:
    """The message of the error that loading must raise; it always names the file."""
    with pytest.raises(CheckpointError) as caught:
        load(path, variant)
    assert str(path) in str(caught.value)
    return str(caught.value)


def assert_same(actual: Rethined, expected: State) -> None:
    """Every weight and statistic is there, equal and float32."""
    state = actual.state_dict()
    names = [name for name in expected if not name.endswith("num_batches_tracked")]
    assert names
    for name in names:
        assert torch.equal(state[name], expected[name].float()), name
        assert state[name].dtype == torch.float32


@pytest.fixture(scope="module")
def state() -> State:
    return small_model(small_config()).state_dict()


@pytest.fixture
def editable(state: State) -> State:
    return {name: tensor.clone() for name, tensor in state.items()}


# --- Accepted ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
@every_variant
def test_round_trip(tmp_path, variant, ending):
    """Weights, statistics and the image they make come back; the hash is of the file."""
    model = small_model(small_config(variant))
    path = save(tmp_path / f"model.{ending}", model.state_dict())
    checkpoint = load(path, variant)
    assert_same(checkpoint.model, model.state_dict())
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not checkpoint.model.training
    assert not any(parameter.requires_grad for parameter in checkpoint.model.parameters())
    assert checkpoint.model.config == replace(model.config, preset="mobile")


def test_loaded_model_computes_the_same(tmp_path):
    model = small_model(small_config())
    loaded = load(save(tmp_path / "model.pth", model.state_dict())).model
    image = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, 512, 512)
    mask[:, :, 100:150, 200:300] = 1
    with torch.no_grad():
        assert torch.equal(loaded(image, mask).output, model(image, mask).output)


@every_variant
def test_preset_itself_derives_nothing(tmp_path, variant):
    model = Rethined(preset_config("mobile", variant))
    checkpoint = load(save(tmp_path / "model.safetensors", model.state_dict()), variant)
    assert checkpoint.derived == ()
    assert checkpoint.model.config == preset_config("mobile", variant)


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict"])
def test_wrappers_and_prefixes(tmp_path, state, wrapper, prefix):
    """As plain, parallel and compiled training save them, beside other entries."""
    content: object = {prefix + name: tensor for name, tensor in state.items()}
    if wrapper:
        content = {wrapper: content, "epoch": 3, "optimizer": {"lr": 1e-3}}
    assert_same(load(save(tmp_path / "model.pth", content)).model, state)


@every_variant
def test_published_extras_are_ignored(tmp_path, variant):
    """The second name of the coarse model, the mask buffer and batch counters."""
    state = small_model(small_config(variant)).state_dict()
    extras = {
        name.replace("coarse_model.", "generator.encoder_decoder."): tensor
        for name, tensor in state.items()
        if name.startswith("coarse_model.")
    }
    extras["generator.qk_mask"] = torch.tensor(torch.inf).expand(1, 1, 4096, 4096)
    extras["generator.mask_query"] = torch.zeros(1, 4096, 1, 1)
    extras["generator.positionalencoding"] = torch.zeros(1, 4096, 224)
    extras["coarse_model.model.linear.weight"] = torch.zeros(10, WIDTHS[4])
    extras["coarse_model.model.linear.bias"] = torch.zeros(10)
    for prefix in ("", "module."):
        content = {prefix + name: tensor for name, tensor in (state | extras).items()}
        assert_same(load(save(tmp_path / "model.pth", content), variant).model, state)


def test_batch_counters_are_optional(tmp_path, state):
    bare = {name: value for name, value in state.items() if "num_batches" not in name}
    assert len(bare) < len(state)
    assert_same(load(save(tmp_path / "model.pth", bare)).model, state)


@every_variant
def test_reparameterised_file_loads_as_deployed(tmp_path, variant):
    model = small_model(small_config(variant))
    reparameterise(model)
    checkpoint = load(save(tmp_path / "model.safetensors", model.state_dict()), variant)
    assert checkpoint.model.config.deployed
    assert checkpoint.model.config.branches == 1
    assert_same(checkpoint.model, model.state_dict())


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_accepted(tmp_path, state, dtype, ending):
    cast = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    assert_same(load(save(tmp_path / f"model.{ending}", cast)).model, cast)


def test_legacy_torch_format(tmp_path, state):
    path = tmp_path / "model.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert_same(load(path).model, state)


def test_parameters_and_buffers_not_only_tensors(tmp_path, state):
    content = {name: nn.Parameter(v) if v.is_floating_point() else v for name, v in state.items()}
    assert_same(load(save(tmp_path / "model.pth", content)).model, state)


# --- Derived ----------------------------------------------------------------------------------

CHANGES = {
    "widths": (24, 16, 40, 48, 32),
    "blocks": (1, 3, 1, 2, 2),
    "branches": 3,
    "squeeze_excite": (0, 1, 2, 0, 0),
    "decoder_widths": (8, 12, 16, 20),
    "feature_stage": 3,
    "d_k": 24,
}


@pytest.mark.parametrize("name", CHANGES)
@every_variant
def test_each_shape_is_derived(tmp_path, variant, name):
    config = small_config(variant, **{name: CHANGES[name]})
    path = save(tmp_path / "model.safetensors", small_model(config).state_dict())
    checkpoint = load(path, variant)
    assert checkpoint.model.config == config
    lines = [line for line in checkpoint.derived if line.startswith(f"{name} = ")]
    preset = getattr(preset_config("mobile", variant), name)
    assert lines == [f"{name} = {CHANGES[name]} (preset mobile: {preset})"]


@pytest.mark.parametrize("stage", range(5))
def test_feature_stage_is_told_by_its_channels(tmp_path, stage):
    config = small_config("published", feature_stage=stage)
    path = save(tmp_path / "model.pth", small_model(config).state_dict())
    assert load(path, "published").model.config.feature_stage == stage


def test_preset_decides_between_stages_of_equal_channels(tmp_path):
    config = small_config(widths=(32, 24, 32, 40, 48))
    path = save(tmp_path / "model.pth", small_model(config).state_dict())
    assert load(path).model.config.feature_stage == 2


@pytest.mark.parametrize("variant,decoder", [("paper", "transposed"), ("published", "separable")])
def test_decoder_is_derived(tmp_path, variant, decoder):
    config = small_config(variant, decoder=decoder)
    checkpoint = load(save(tmp_path / "m.pth", small_model(config).state_dict()), variant)
    assert checkpoint.model.config.decoder == decoder
    assert any(line.startswith("decoder = ") for line in checkpoint.derived)


@pytest.mark.parametrize(
    "change",
    [
        {"start": "push-pull"},
        {"coherence": False},
        {"surroundings": True},
        {"coherence": False, "blended": True},
    ],
)
def test_what_the_model_starts_and_ends_with_is_derived(tmp_path, change):
    config = small_config(**change)
    checkpoint = load(save(tmp_path / "m.safetensors", small_model(config).state_dict()))
    assert checkpoint.model.config == config


def test_a_gain_beside_a_coherence_layer_is_refused(tmp_path):
    state = small_model(small_config()).state_dict() | {"generator.gain": torch.ones(1)}
    with pytest.raises(CheckpointError, match=r"unexpected: generator\.gain"):
        load(save(tmp_path / "m.safetensors", state))


def test_repaired_published_checkpoint(tmp_path):
    """A fork's own widths under every decoration at once."""
    config = small_config("published", widths=(24, 32, 48, 56, 64), feature_stage=1, d_k=40)
    state = small_model(config).state_dict()
    content = {f"module.{name}": tensor for name, tensor in state.items()}
    content["module.generator.mask_query"] = torch.zeros(1, 4096, 1, 1)
    path = save(tmp_path / "model.pth", {"model_state_dict": content, "epoch": 9})
    checkpoint = load_checkpoint(path, "paper", "published")
    assert checkpoint.model.config == replace(config, preset="paper")
    assert_same(checkpoint.model, state)
    assert {line.split(" = ")[0] for line in checkpoint.derived} >= {"widths", "d_k"}


# --- Refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
def test_missing_file_directory_and_empty_file(tmp_path, ending):
    path = tmp_path / f"model.{ending}"
    assert "No such file" in refusal(path)
    path.mkdir()
    assert "directory" in refusal(path)
    path.rmdir()
    path.write_bytes(b"")
    assert "empty" in refusal(path)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("content", [b"hello, these are not weights\n", b"\0" * 64, b"PK\3\4zip"])
def test_files_of_another_kind(tmp_path, ending, content):
    path = tmp_path / f"model.{ending}"
    path.write_bytes(content)
    refusal(path)


def damaged(path: Path, data: bytes) -> None:
    """Damaged bytes either still hold the model or are refused: nothing else is raised."""
    path.write_bytes(data)
    try:
        load(path)
    except CheckpointError as error:
        assert str(path) in str(error)


FORMATS: dict[str, Callable[[State, Path], object]] = {
    "safetensors": save_file,
    "zip": torch.save,
    "legacy": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
}


@pytest.fixture(scope="module", params=FORMATS)
def whole(request, tmp_path_factory, state) -> Path:
    """The small model in one format."""
    ending = "safetensors" if request.param == "safetensors" else "pth"
    path = tmp_path_factory.mktemp(request.param) / f"model.{ending}"
    FORMATS[request.param](dict(state), path)
    return path


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(share=st.floats(0, 1, exclude_max=True))
def test_truncated_files_are_refused(whole, share):
    data = whole.read_bytes()
    path = whole.with_stem("cut")
    path.write_bytes(data[: int(len(data) * share)])
    refusal(path)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(place=st.floats(0, 1, exclude_max=True), near_start=st.booleans(), byte=st.integers(0, 255))
def test_a_wrong_byte_raises_nothing_else(whole, place, near_start, byte):
    """Half of the damage goes to the header, where structure is."""
    data = bytearray(whole.read_bytes())
    data[int((2000 if near_start else len(data)) * place)] = byte
    damaged(whole.with_stem("damaged"), bytes(data))


class Trap:
    """Unpickled without care, this writes a file."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.witness,)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("writer", [torch.save, pickle.dump], ids=["torch", "pickle"])
def test_code_is_never_run(tmp_path, state, ending, wrapped, writer):
    witness, path = tmp_path / "witness", tmp_path / f"model.{ending}"
    trap = Trap(witness)
    with path.open("wb") as file:
        writer({"state_dict": dict(state), "extra": trap} if wrapped else trap, file)
    if wrapped:
        assert load(path).model.state_dict().keys() >= state.keys()
    else:
        refusal(path)
    assert not witness.exists()
    pickle.loads(pickle.dumps(trap))
    assert witness.exists(), "the trap would not have worked at all"


def test_whole_model_is_read_without_its_class(tmp_path, state):
    path = tmp_path / "model.pth"
    torch.save(nn.ModuleDict({"module": small_model(small_config("paper"))}), path)
    assert "prefix module. stripped" in load(path).derived


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, {"epoch": 3}, [], 3, "weights"])
def test_files_without_weights(tmp_path, content):
    assert "holds no named tensors but" in refusal(save(tmp_path / "model.pth", content))


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@every_variant
def test_other_model(tmp_path, ending, variant):
    other = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 3, 3))
    message = refusal(save(tmp_path / f"m.{ending}", other.state_dict()), variant)
    assert "not a RETHINED checkpoint" in message
    assert "stage0" in message
    assert "0 of its 8 tensors" in message


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", [QUERIES, "coarse_model.model.stage0.rbr_scale.bn.running_var"])
def test_tensors_that_diverged_are_named(tmp_path, editable, name, value):
    editable[name].view(-1)[-1] = value
    message = refusal(save(tmp_path / "model.pth", editable))
    assert name in message
    assert "NaN or Inf" in message


def test_every_key_that_does_not_fit_is_named(tmp_path, editable):
    missing = ["generator.final_conv.0.bias", "coarse_model.d0.bias"]
    for name in missing:
        del editable[name]
    editable["generator.extra.weight"] = torch.zeros(1)
    editable["another"] = torch.zeros(1)
    editable["generator.final_conv.0.weight"] = torch.zeros(192, 192, 1, 1)
    editable["generator.multihead_attention.w_ks.weight"] = torch.zeros(8, 8)
    message = refusal(save(tmp_path / "model.pth", editable))
    assert "missing: coarse_model.d0.bias, generator.final_conv.0.bias" in message
    assert "unexpected: another, generator.extra.weight" in message
    assert "generator.final_conv.0.weight is (192, 192, 1, 1), not (192, 192, 3, 3)" in message
    assert f"generator.multihead_attention.w_ks.weight is (8, 8), not (16, {192 + 32})" in message


@pytest.mark.parametrize("name", [QUERIES, "coarse_model.model.stage2.1.rbr_conv.0.conv.weight"])
def test_keys_the_shapes_are_read_off(tmp_path, editable, name):
    del editable[name]
    assert name in refusal(save(tmp_path / "model.pth", editable))


@pytest.mark.parametrize("shape", [(), (0,), (3,), (0, 0), (7, 7), (5, 0, 3, 3), (1,) * 6])
@pytest.mark.parametrize(
    "name",
    [
        QUERIES,
        "coarse_model.model.stage0.rbr_conv.0.conv.weight",
        "coarse_model.model.stage2.1.rbr_conv.0.conv.weight",
        "coarse_model.d4.reduce.rbr_conv.0.conv.weight",
        "coarse_model.d4.weight",
        "generator.final_conv.0.weight",
    ],
)
def test_any_shape_is_refused_without_a_traceback(tmp_path, editable, name, shape):
    editable[name] = torch.zeros(shape)
    refusal(save(tmp_path / "model.pth", editable))


def test_channels_of_no_stage(tmp_path, editable):
    for part in ("w_qs", "w_ks"):
        editable[f"generator.multihead_attention.{part}.weight"] = torch.zeros(16, 192 + 31)
    assert "stage of 31 channels" in refusal(save(tmp_path / "model.pth", editable))


def test_values_that_are_not_tensors_are_missing(tmp_path, editable):
    editable["generator.final_conv.0.bias"] = [0.0] * 192
    assert "generator.final_conv.0.bias" in refusal(save(tmp_path / "model.pth", editable))


def test_variants_do_not_mix(tmp_path):
    paper = save(tmp_path / "paper.pth", small_model(small_config("paper")).state_dict())
    published = save(
        tmp_path / "published.pth", small_model(small_config("published")).state_dict()
    )
    assert "missing: generator.multihead_attention.fc.weight" in refusal(paper, "published")
    assert "unexpected: generator.multihead_attention.fc.weight" in refusal(published, "paper")
