"""MI-GAN's options, its native artifacts' caller, and its pipelines by name."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rethined_export.errors import UserError
from rethined_export.models.migan import (
    PRESETS,
    MiGan,
    MiGanConfig,
    MiGanInpainter,
    fixed_keys,
)
from rethined_export.models.seeded import seed_weights
from rethined_export.photo.window import Window
from rethined_export.recipes import recipe
from rethined_export.recipes.migan import RECIPE
from rethined_export.recipes.migan.caller import NativeRunner
from rethined_export.recipes.migan.options import MiGanOptions
from rethined_export.recipes.migan.pipeline import ORIGINAL, fill, native_network
from rethined_export.recipes.types import Running, Source, TorchRunner
from rethined_export.spec import ExportSpec

NATIVE = MiGanOptions(io="native")


@pytest.fixture(scope="module")
def generator() -> MiGan:
    """Of the preset's side, but only a few channels wide."""
    model = MiGan(MiGanConfig("256", 256, channel_max=8)).eval().requires_grad_(False)
    seed_weights(model, 1.0, fixed_keys(model))
    return model


@pytest.fixture(scope="module")
def native(generator: MiGan) -> TorchRunner:
    return TorchRunner(RECIPE.program(NATIVE, MiGanInpainter(generator), "whole"))


def test_file_names_tell_presets_and_forms_apart():
    names = [
        ExportSpec("migan", "onnx", options, untrained=True).file_name()
        for options in (MiGanOptions(), MiGanOptions(preset="512"), NATIVE)
    ]
    assert names == [
        "migan-untrained-256-fp32.onnx",
        "migan-untrained-512-fp32.onnx",
        "migan-untrained-256-native-fp32.onnx",
    ]


def test_size_chooses_the_preset():
    assert recipe("migan").options().sized(Window(512, 512)).preset == "512"
    assert NATIVE.sized(Window(256, 256)) == NATIVE
    with pytest.raises(UserError, match="256, 512 squared, not 320x256"):
        MiGanOptions().sized(Window(256, 320))


def test_native_caller_is_the_inpainter(generator: MiGan, native: TorchRunner):
    rng = np.random.default_rng(0)
    image = rng.random((1, 3, 256, 256), np.float32)
    mask = np.zeros((1, 1, 256, 256), np.float32)
    mask[:, :, 40:120, 60:200] = 1
    made = NativeRunner(native)(image=image, mask=mask)["output"]
    wanted = MiGanInpainter(generator)(torch.from_numpy(image), torch.from_numpy(mask)).numpy()
    known = np.broadcast_to(mask == 0, image.shape)
    assert np.array_equal(made[known], image[known])
    # The rewritten graph against the plain one: see test_graph.py; half of the raw range here.
    assert np.abs(made - wanted).max() <= 1e-4


def test_pipelines_run_a_native_artifact_whole(native: TorchRunner):
    """So the original one gets the paint beside the hole too; ours keeps what is known."""
    made = Running(NATIVE, {"whole": native}, NativeRunner(native))
    photo = np.random.default_rng(1).integers(0, 256, (200, 300, 3), np.uint8)
    hole = np.zeros((200, 300), bool)
    hole[50:90, 100:160] = True
    network = native_network(lambda x: native(input=x)["output"])
    filled = {name: run(made, photo, hole) for name, run in RECIPE.pipelines().items()}
    original = fill(network, photo, hole, 256, ORIGINAL)
    assert np.array_equal(filled["migan-original"], original)
    assert (original[~hole] != photo[~hole]).any()
    assert np.array_equal(filled["migan"][~hole], photo[~hole])
    assert (filled["migan"] != photo)[hole].any(axis=1).mean() > 0.9


def test_a_checkpoint_is_read_and_recognised(tmp_path):
    path = tmp_path / "migan.safetensors"
    changed = MiGan(PRESETS["256"]).state_dict() | {"synthesis.b4.torgb.bias": torch.ones(3)}
    save_file(changed, path)
    model = RECIPE.reference(MiGanOptions(), Source(path)).model
    assert model.state_dict()["generator.synthesis.b4.torgb.bias"].tolist() == [1, 1, 1]
    assert RECIPE.recognises(frozenset(changed)) == 1
    assert RECIPE.recognises(frozenset({"encoder.b4.conv1.conv2.weight"})) == 0


def test_filters_that_cannot_be_rewritten_are_a_users_error():
    model = MiGan(PRESETS["256"])
    model.synthesis.get_submodule("b8.upsample.filter").weight.data[0, 0, 1, 1] += 0.1
    with pytest.raises(UserError, match="these weights cannot be exported"):
        RECIPE.program(MiGanOptions(), MiGanInpainter(model), "whole")
