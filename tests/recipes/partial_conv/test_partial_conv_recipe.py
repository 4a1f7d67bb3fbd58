"""Partial convolution: its options, its native caller, holes out of reach, and checkpoints."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from rethined_export.errors import UserError
from rethined_export.models.partial_conv import (
    PRESETS,
    Inpainter,
    PartialConvNet,
    constant_keys,
    seed_stand_in,
)
from rethined_export.photo.window import Window
from rethined_export.recipes.partial_conv import RECIPE
from rethined_export.recipes.partial_conv.options import PartialConvOptions
from rethined_export.recipes.types import Reference, Source, TorchRunner
from rethined_export.spec import ExportSpec

SMALL = PartialConvOptions(size="256x128")


@pytest.fixture(scope="module")
def inpainter() -> Inpainter:
    network = PartialConvNet(replace(PRESETS["256"], width=8)).eval().requires_grad_(False)
    seed_stand_in(network)
    return Inpainter(network).eval()


def runner(inpainter: Inpainter, options: PartialConvOptions = SMALL):
    program = RECIPE.program(options, inpainter, "whole")
    return RECIPE.caller(options, {"whole": TorchRunner(program)})


@pytest.mark.parametrize("io", ["plain", "native"])
def test_either_program_fills_as_the_network_does(inpainter, io):
    options = replace(SMALL, io=io)
    judge = RECIPE.judge(options, Reference(inpainter, "untrained", ""))
    scene = next(iter(RECIPE.scenes(options, None, None)))
    figures = judge.compare(runner(inpainter, options), scene)
    assert not figures.failures()
    assert figures.known_max_abs == 0


def test_windows_and_names():
    assert PartialConvOptions().window == Window.square(256)
    assert PartialConvOptions(preset="512").window == Window.square(512)
    assert SMALL.window == Window(128, 256)
    assert SMALL.sized(Window(384, 128)).size == "128x384"
    names = [
        ExportSpec("partial-conv", "onnx", options, untrained=True).file_name()
        for options in (PartialConvOptions(), SMALL, replace(SMALL, io="native"))
    ]
    assert names == [
        "partial-conv-untrained-256-256-fp32.onnx",
        "partial-conv-untrained-256-256x128-fp32.onnx",
        "partial-conv-untrained-256-256x128-native-fp32.onnx",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (replace(SMALL, size="320x128"), "320 is not a multiple of 128; nearest is 256"),
        (PartialConvOptions(preset="512", size="640x512"), "not a multiple of 256; nearest is 512"),
        (PartialConvOptions(preset="512", size="128x512"), "sides go from 256 to 2048, not 128"),
        (replace(SMALL, preset="255"), "did you mean 256?"),
    ],
)
def test_what_it_cannot_be_is_refused(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        options.check()


def all_but(window: Window, rows: int, columns: int) -> np.ndarray:
    """A hole that leaves a corner."""
    hole = np.ones(window, bool)
    hole[:rows, :columns] = False
    return hole


@pytest.mark.parametrize("io", ["plain", "native"])
def test_a_hole_out_of_reach_is_refused(inpainter, io):
    """Half of the last map's four columns are reached, and 2·2 + 1 of 8, …, 383 of 512."""
    wide = replace(SMALL, size="512x128", io=io)
    fill = runner(inpainter, wide)
    image, hole = np.zeros((1, 3, 128, 512), np.float32), all_but(wide.window, 6, 6)
    assert not RECIPE.bears(wide, hole)
    with pytest.raises(UserError, match=r"16512 of the hole's 65500 at 512x128 .*--size 128"):
        fill(image=image, mask=hole[None, None].astype(np.float32))
    with pytest.raises(UserError, match="65536 of the hole's 65536"):
        fill(image=image, mask=np.ones((1, 1, 128, 512), np.float32))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("place", [(0, 0), (-1, 0), (60, 71), (-1, -1)])
def test_one_known_pixel_is_enough_at_the_smallest_size(preset, place):
    """What the message sends people to: the last map is one pixel."""
    options = PartialConvOptions(preset=preset, size="{0}x{0}".format(PRESETS[preset].multiple))
    hole = np.ones(options.window, bool)
    hole[place] = False
    assert RECIPE.bears(options, hole)
    assert not RECIPE.bears(options, np.ones(options.window, bool))


def test_a_hole_in_reach_is_filled(inpainter):
    hole = all_but(SMALL.window, 1, 1)
    mask = hole[None, None].astype(np.float32)
    filled = runner(inpainter)(image=np.ones((1, 3, 128, 256), np.float32), mask=mask)
    assert np.isfinite(filled["output"]).all()


def test_scenes_are_holes_that_it_can_fill():
    assert all(
        RECIPE.bears(SMALL, scene.mask[0, 0].numpy() > 0)
        for scene in RECIPE.scenes(SMALL, None, None)
    )


# --- Checkpoints ----------------------------------------------------------------------------------


def test_a_checkpoint_as_the_port_writes_it_is_read(tmp_path):
    network = PartialConvNet(PRESETS["256"])
    state = network.state_dict()
    state["dec_1.conv.input_conv.bias"] = torch.tensor([1.0, 2.0, 3.0])
    torch.save({"n_iter": 7, "model": state, "optimizer": {}}, tmp_path / "1000000.pth")
    model = RECIPE.reference(PartialConvOptions(), Source(tmp_path / "1000000.pth")).model
    assert model.state_dict()["network.dec_1.conv.input_conv.bias"].tolist() == [1, 2, 3]
    assert RECIPE.recognises(frozenset(state)) == 1


def test_kernels_of_ones_need_not_be_there(tmp_path):
    network = PartialConvNet(PRESETS["256"])
    ones = constant_keys(network)
    state = {key: value for key, value in network.state_dict().items() if key not in ones}
    torch.save(state, tmp_path / "slim.pth")
    RECIPE.reference(PartialConvOptions(), Source(tmp_path / "slim.pth"))


def test_a_network_of_another_depth_is_told(tmp_path):
    with torch.device("meta"):
        names = PartialConvNet(PRESETS["512"]).state_dict()
    torch.save({name: torch.zeros(1) for name in names}, tmp_path / "deep.pth")
    with pytest.raises(UserError, match="it has 8 layers; use --preset 512"):
        RECIPE.reference(PartialConvOptions(), Source(tmp_path / "deep.pth"))


def test_another_port_is_told(tmp_path):
    torch.save({"generator.encoder.enc1.conv.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "m.pth")
    with pytest.raises(UserError, match="it looks like mmagic's network"):
        RECIPE.reference(PartialConvOptions(), Source(tmp_path / "m.pth"))


def test_kernels_of_other_than_ones_are_a_users_error(inpainter):
    changed = PartialConvNet(replace(PRESETS["256"], width=1))
    changed.get_parameter("enc_1.conv.mask_conv.weight").data[0, 0, 0, 0] = 2
    with pytest.raises(UserError, match="these weights cannot be exported"):
        RECIPE.program(SMALL, Inpainter(changed), "whole")
