"""AOT-GAN's options, its native program's caller, and its checkpoints."""

import re
from dataclasses import replace

import pytest
import torch

from rethined_export.errors import UserError
from rethined_export.models.aot_gan import PRESETS, AotGan
from rethined_export.photo.window import Window
from rethined_export.recipes.aot_gan import RECIPE
from rethined_export.recipes.aot_gan.options import AotGanOptions
from rethined_export.recipes.types import Reference, Source, TorchRunner
from rethined_export.spec import ExportSpec
from tests.guests import narrow_aot_gan

SMALL = AotGanOptions(size="96x64")


@pytest.mark.parametrize("io", ["plain", "native"])
def test_either_program_fills_as_the_network_does(io):
    options, model = replace(SMALL, io=io), narrow_aot_gan().model
    program = RECIPE.program(options, model, "whole")
    judge = RECIPE.judge(options, Reference(model, "untrained", ""))
    scene = next(iter(RECIPE.scenes(options, None, None)))
    figures = judge.compare(RECIPE.caller(options, {"whole": TorchRunner(program)}), scene)
    assert not figures.failures()
    assert figures.known_max_abs == 0


def test_native_program_sees_a_white_hole():
    packed = RECIPE.program(replace(SMALL, io="native"), narrow_aot_gan().model, "whole").inputs[
        "input"
    ]
    assert packed.shape == (1, 4, 64, 96)
    hole = packed[:, 3:].expand(-1, 3, -1, -1) > 0
    assert hole.any()
    assert (packed[:, :3][hole] == 1).all()
    assert packed[:, :3].min() < -0.9


def test_windows_and_names():
    assert AotGanOptions().window == Window.square(512)
    assert SMALL.window == Window(64, 96)
    assert SMALL.sized(Window(128, 72)).size == "72x128"
    names = [
        ExportSpec("aot-gan", "onnx", options, untrained=True).file_name()
        for options in (AotGanOptions(), replace(SMALL, io="native"))
    ]
    assert names == [
        "aot-gan-untrained-published-512-fp32.onnx",
        "aot-gan-untrained-published-96x64-native-fp32.onnx",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (replace(SMALL, size="98x64"), "98 is not a multiple of 4; nearest is 96"),
        (replace(SMALL, size="64x32"), "sides go from 36 to 1024, not 32"),
        (replace(SMALL, size="2048x64"), "sides go from 36 to 1024, not 2048"),
        (replace(SMALL, preset="publish"), "did you mean published?"),
    ],
)
def test_what_it_cannot_be_is_refused(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        options.check()


def test_a_checkpoint_is_read_and_recognised(tmp_path):
    state = AotGan(PRESETS["published"]).state_dict()
    state["decoder.4.bias"] = torch.tensor([1.0, 2.0, 3.0])
    torch.save(state, tmp_path / "G0000000.pt")
    model = RECIPE.reference(AotGanOptions(), Source(tmp_path / "G0000000.pt")).model
    assert model.state_dict()["generator.decoder.4.bias"].tolist() == [1, 2, 3]
    assert RECIPE.recognises(frozenset(state)) == 1
    assert RECIPE.recognises(frozenset({"decoder.4.weight"})) == 0


def test_another_port_is_told(tmp_path):
    name = "generator.dilation_neck.model.0.blocks.0.1.conv.weight"
    torch.save({name: torch.zeros(64, 256, 3, 3)}, tmp_path / "m.pth")
    with pytest.raises(UserError, match="it looks like mmagic's AOT-GAN"):
        RECIPE.reference(AotGanOptions(), Source(tmp_path / "m.pth"))
