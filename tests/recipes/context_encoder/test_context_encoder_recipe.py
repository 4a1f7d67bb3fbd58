"""The context encoder's options, its callers, holes elsewhere than in the centre, checkpoints."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rethined_export.errors import UserError
from rethined_export.models.context_encoder import in_centre
from rethined_export.photo.window import Window
from rethined_export.recipes.context_encoder import RECIPE
from rethined_export.recipes.context_encoder.options import ContextEncoderOptions
from rethined_export.recipes.types import Reference, Runner, Source, TorchRunner
from rethined_export.spec import ExportSpec
from tests.guests import narrow_context_encoder

PLAIN = ContextEncoderOptions()
both_ways = pytest.mark.parametrize("io", ["plain", "native"])


def runner(io: str) -> Runner:
    options = replace(PLAIN, io=io)
    program = RECIPE.program(options, narrow_context_encoder().model, "whole")
    return RECIPE.caller(options, {"whole": TorchRunner(program)})


@both_ways
def test_either_program_fills_as_the_network_does(io):
    options = replace(PLAIN, io=io)
    judge = RECIPE.judge(options, Reference(narrow_context_encoder().model, "untrained", ""))
    for scene in RECIPE.scenes(options, None, None):
        figures = judge.compare(runner(io), scene)
        assert not figures.failures()
        assert figures.known_max_abs == 0


def test_scenes_have_their_holes_in_the_centre():
    """One of all of it, which parity would else not see the border of."""
    covers = [scene.cover for scene in RECIPE.scenes(PLAIN, None, None)]
    assert covers[0] == 0.25
    assert len(covers) == 4
    assert all(
        in_centre(scene.mask) and scene.mask.any() for scene in RECIPE.scenes(PLAIN, None, None)
    )


@both_ways
@pytest.mark.parametrize("place", [(10, 60), (60, 100), (31, 40), (96, 95)])
def test_a_hole_elsewhere_is_refused(io, place):
    mask = np.zeros((1, 1, 128, 128), np.float32)
    mask[0, 0, place[0], place[1]] = mask[0, 0, 60, 60] = 1
    rows, columns = sorted((place[0], 60)), sorted((place[1], 60))
    message = f"columns {columns[0]} to {columns[1]} and rows {rows[0]} to {rows[1]} of it"
    with pytest.raises(UserError, match=f"the middle 64x64 of its 128x128 .*{message}"):
        runner(io)(image=np.zeros((1, 3, 128, 128), np.float32), mask=mask)


def test_names_and_its_one_size():
    assert PLAIN.window == Window.square(128)
    assert PLAIN.sized(Window.square(128)) == PLAIN
    with pytest.raises(UserError, match="works at 128 squared, not 256"):
        PLAIN.sized(Window.square(256))
    names = [
        ExportSpec("context-encoder", "onnx", options, untrained=True).file_name()
        for options in (PLAIN, replace(PLAIN, io="native"))
    ]
    assert names == [
        "context-encoder-untrained-centre-128-fp32.onnx",
        "context-encoder-untrained-centre-128-native-fp32.onnx",
    ]


# --- Checkpoints ----------------------------------------------------------------------------------


def refused(path: Path, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        RECIPE.reference(PLAIN, Source(path))


def test_a_checkpoint_of_the_original_is_told(tmp_path):
    torch.save({"main.0.bias": torch.zeros(64), "main.0.weight": torch.zeros(64, 3, 4, 4)},
               tmp_path / "converted.pth")  # fmt: skip
    refused(tmp_path / "converted.pth", "its convolutions have biases, as the original's in Lua")


def test_a_file_of_lua_objects_is_told(tmp_path):
    (tmp_path / "net.t7").write_bytes(b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1\r\0\0\0nn.Sequential")
    refused(tmp_path / "net.t7", "a Torch7 file (.t7) of Lua objects, not a torch checkpoint")


def test_it_is_recognised_by_the_number_of_its_layers():
    names = frozenset(narrow_context_encoder().model.network.state_dict())
    assert RECIPE.recognises(names) == 1
    assert RECIPE.recognises(names | {"main.30.weight"}) == 0
    assert RECIPE.recognises(frozenset({"main.3.running_mean"})) == 0


@pytest.mark.slow
def test_a_checkpoint_as_the_port_writes_it_is_read(tmp_path):
    """Of 285 MB."""
    network = RECIPE.reference(PLAIN, None).model.network
    state = network.state_dict()
    state["main.3.bias"] = torch.full((64,), 7.0)
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "netG_streetview.pth")
    model = RECIPE.reference(PLAIN, Source(tmp_path / "netG_streetview.pth")).model
    assert (model.state_dict()["network.main.3.bias"] == 7).all()
