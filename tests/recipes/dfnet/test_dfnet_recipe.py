"""DFNet's options, its native artifacts' caller, and its checkpoints."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rethined_export.errors import UserError
from rethined_export.models.dfnet import STAND_IN_GAIN, DfNet, DfNetInpainter
from rethined_export.models.lama import PRESETS as LAMA
from rethined_export.models.lama import Lama
from rethined_export.models.seeded import seed_weights
from rethined_export.photo.window import Window
from rethined_export.recipes import recipe
from rethined_export.recipes.dfnet import RECIPE
from rethined_export.recipes.dfnet.caller import NativeRunner
from rethined_export.recipes.dfnet.options import DfNetOptions
from rethined_export.recipes.types import Source, TorchRunner
from rethined_export.spec import ExportSpec, load_reference

SMALL = DfNetOptions(size="256x256")


@pytest.fixture(scope="module")
def inpainter() -> DfNetInpainter:
    network = DfNet([8] * 8).eval().requires_grad_(False)
    seed_weights(network, STAND_IN_GAIN)
    return DfNetInpainter(network).eval()


def test_it_is_registered():
    assert recipe("dfnet") is RECIPE


def test_windows_and_names():
    assert DfNetOptions().window == Window(512, 512)
    assert DfNetOptions(preset="celeba").window == Window(256, 256)
    assert DfNetOptions().sized(Window(256, 768)).size == "768x256"
    names = [
        ExportSpec("dfnet", "onnx", options, untrained=True).file_name()
        for options in (DfNetOptions(), DfNetOptions(preset="celeba"), replace(SMALL, io="native"))
    ]
    assert names == [
        "dfnet-untrained-places2-512-fp32.onnx",
        "dfnet-untrained-celeba-256-fp32.onnx",
        "dfnet-untrained-places2-256-native-fp32.onnx",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (replace(SMALL, preset="places"), "did you mean places2?"),
        (replace(SMALL, size="500x333"), "500 is not a multiple of 256; nearest is 512"),
        (replace(SMALL, size="128x256"), "sides go from 256 to 2048, not 128"),
        (replace(SMALL, io="bgr"), "--io bgr is unknown"),
    ],
)
def test_what_it_cannot_be_is_refused(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        options.check()


def test_native_caller_is_the_inpainter(inpainter: DfNetInpainter):
    program = RECIPE.program(replace(SMALL, io="native"), inpainter, "whole")
    assert {info.name: info.shape for info in program.takes} == {"input": (1, 4, 256, 256)}
    rng = np.random.default_rng(0)
    image = rng.random((1, 3, 256, 256), np.float32)
    mask = np.zeros((1, 1, 256, 256), np.float32)
    mask[:, :, 40:120, 60:200] = 1
    made = NativeRunner(TorchRunner(program))(image=image, mask=mask)["output"]
    wanted = inpainter(torch.from_numpy(image), torch.from_numpy(mask)).numpy()
    known = np.broadcast_to(mask == 0, image.shape)
    assert np.array_equal(made[known], image[known])
    assert np.abs(made - wanted).max() <= 1e-5  # the gate of every export


def test_a_checkpoint_is_read_and_recognised(tmp_path):
    path = tmp_path / "model_places2.pth"
    state = DfNet().state_dict() | {"fuse_0.map2img.0.conv.bias": torch.ones(3)}
    torch.save(state, path)
    model = RECIPE.reference(DfNetOptions(), Source(path)).model
    assert model.state_dict()["network.fuse_0.map2img.0.conv.bias"].tolist() == [1, 1, 1]
    assert RECIPE.recognises(frozenset(state)) == 1
    assert RECIPE.recognises(frozenset({"en_7.encode.0.conv.1.weight"})) == 0


def test_another_models_checkpoint_is_refused_and_named(tmp_path):
    path = tmp_path / "best.safetensors"
    save_file(Lama(replace(LAMA["fourier"], width=8, blocks=5)).state_dict(), path)
    spec = ExportSpec("dfnet", "onnx", DfNetOptions(), checkpoint=str(path))
    with pytest.raises(UserError, match=r"does not fit .*; it looks like --model lama"):
        load_reference(spec)
