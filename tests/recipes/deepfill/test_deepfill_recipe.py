"""DeepFill's options, its native program's caller, and how its checkpoints are told apart."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rethined_export.errors import UserError
from rethined_export.models.deepfill import PRESETS, Deepfill, fixed_keys
from rethined_export.models.lama import PRESETS as LAMA_PRESETS
from rethined_export.models.lama import Lama
from rethined_export.photo.window import Window
from rethined_export.recipes.deepfill import RECIPE, DeepfillOptions, keys_of
from rethined_export.recipes.types import Reference, Source, TorchRunner
from rethined_export.spec import ExportSpec, load_reference
from tests.guests import narrow_deepfill

SMALL = DeepfillOptions(preset="v2-nipponjo", size="104x72")
every_preset = pytest.mark.parametrize("preset", PRESETS)


@pytest.mark.parametrize("io", ["plain", "native"])
@pytest.mark.parametrize("preset", ["v2-nipponjo", "v2-mmagic"])
def test_either_program_fills_as_the_network_does(preset, io):
    """Of a port that sees RGB and of one that sees BGR."""
    options, model = replace(SMALL, preset=preset, io=io), narrow_deepfill(preset).model
    program = RECIPE.program(options, model, "whole")
    for info in program.takes:
        assert tuple(program.inputs[info.name].shape) == info.shape
    judge = RECIPE.judge(options, Reference(model, "untrained", ""))
    runner = RECIPE.caller(options, {"whole": TorchRunner(program)})
    figures = judge.compare(runner, next(iter(RECIPE.scenes(options, None, None))))
    assert not figures.failures()
    assert figures.known_max_abs == 0


def test_native_program_takes_what_its_description_says():
    program = RECIPE.program(
        replace(SMALL, io="native"), narrow_deepfill(SMALL.preset).model, "whole"
    )
    packed = program.inputs["input"]
    assert packed.shape == (1, 5, 72, 104)
    assert (packed[:, :3] * packed[:, 4:] == 0).all()
    assert (packed[:, 3] == 1).all()
    assert program.takes[0].meaning.startswith("RGB in [-1, 1]")
    bgr = replace(SMALL, preset="v1-mmagic", io="native")
    assert (
        RECIPE.program(bgr, narrow_deepfill("v1-mmagic").model, "whole")
        .takes[0]
        .meaning.startswith("BGR")
    )


def test_windows_and_names():
    assert SMALL.window == Window(72, 104)
    assert SMALL.sized(Window(128, 80)).size == "80x128"
    assert ExportSpec(
        "deepfill", "onnx", replace(SMALL, io="native"), untrained=True
    ).file_name() == ("deepfill-untrained-v2-nipponjo-104x72-native-fp32.onnx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (replace(SMALL, preset="v2-tff"), "did you mean v2-tf?"),
        (replace(SMALL, size="100x72"), "100 is not a multiple of 8; nearest is 96"),
        (replace(SMALL, size="1032x72"), "sides go from 64 to 1024, not 1032"),
        (DeepfillOptions(preset="v2-mmagic", size="64x72"), "multiples of 8 from 72"),
        (replace(SMALL, size="1024x520"), "at most 524288 pixels, such as 720x720 or 1024x512"),
        (replace(SMALL, io="raw"), "--io raw is unknown"),
    ],
)
def test_what_it_cannot_be_is_refused(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        options.check()


# --- Checkpoints ----------------------------------------------------------------------------------


def checkpoint(preset: str, path: Path, prefix: str = "") -> Path:
    """A file of a port's tensors, all zeros but attention's constant."""
    with torch.device("meta"):
        model = Deepfill(PRESETS[preset])
    tensors = {f"{prefix}{key}": torch.zeros(x.shape) for key, x in model.state_dict().items()}
    for key in fixed_keys(model):
        tensors[f"{prefix}{key}"] = torch.eye(3).reshape(1, 1, 3, 3)
    save_file(tensors, path)
    return path


@pytest.mark.parametrize(
    ("preset", "prefix"), [("v2-tf", ""), ("v2-mmagic", "generator."), ("v1-daa", "netG.")]
)
def test_a_checkpoint_is_read_behind_the_prefix_it_has(preset, prefix, tmp_path):
    path = checkpoint(preset, tmp_path / "model.safetensors", prefix)
    options = DeepfillOptions(preset=preset)
    loaded = RECIPE.reference(options, Source(path))
    assert not any(parameter.any() for parameter in loaded.model.parameters())
    assert bool(loaded.notes) == (preset == "v2-tf"), "whose order of colours nobody knows"


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("v1-daa", "v2-tf"),
        ("v1-daa", "v2-nipponjo"),
        ("v1-mmagic", "v2-mmagic"),
        ("v2-mmagic", "v1-mmagic"),
        ("v2-nipponjo", "v2-tf"),
        ("v2-tf", "v1-daa"),
    ],
)
def test_another_ports_checkpoint_is_named(given, asked, tmp_path):
    path = checkpoint(given, tmp_path / "model.safetensors", "generator.")
    with pytest.raises(UserError, match=rf"does not fit.*; it looks like --preset {given}$"):
        RECIPE.reference(DeepfillOptions(preset=asked), Source(path))


def test_another_models_checkpoint_is_named(tmp_path):
    with torch.device("meta"):
        tensors = Lama(replace(LAMA_PRESETS["fourier"], width=8)).state_dict()
    save_file({key: torch.zeros(x.shape) for key, x in tensors.items()}, tmp_path / "m.safetensors")
    options = DeepfillOptions()
    spec = ExportSpec("deepfill", "onnx", options, checkpoint=str(tmp_path / "m.safetensors"))
    with pytest.raises(UserError, match=r"it looks like --model lama$"):
        load_reference(spec)


def test_a_changed_fusing_constant_cannot_be_exported():
    model = narrow_deepfill("v2-nipponjo").model
    model.network.attention.get_buffer("fuse_weight").mul_(0.5)
    with pytest.raises(UserError, match="these weights cannot be exported: fuse_weight is not"):
        RECIPE.program(SMALL, model, "whole")


@every_preset
def test_names_tell_the_ports_apart(preset):
    names = keys_of(preset)
    assert RECIPE.recognises(names | {"other"}) == 1
    assert RECIPE.recognises(names - {next(iter(names))}) == 0
    assert not any(keys_of(other) <= names for other in PRESETS if other != preset)
