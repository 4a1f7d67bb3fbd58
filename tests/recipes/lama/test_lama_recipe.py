"""LaMa's options, its native program's caller, and its authors' way around the hole."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from rethined_export.errors import UserError
from rethined_export.models.lama import PRESETS, Inpainter, Lama
from rethined_export.models.seeded import seed_weights
from rethined_export.photo.window import Window
from rethined_export.recipes import recipe
from rethined_export.recipes.lama import RECIPE, LamaOptions
from rethined_export.recipes.types import Reference, Running, TorchRunner

SMALL = LamaOptions(preset="fourier", size="96x64")


@pytest.fixture(scope="module")
def inpainter() -> Inpainter:
    network = Lama(replace(PRESETS["fourier"], width=8, blocks=1)).eval()
    seed_weights(network, gain=1.0)
    return Inpainter(network).eval()


def test_it_is_registered():
    assert recipe("lama") is RECIPE


@pytest.mark.parametrize("io", ["plain", "native"])
def test_either_program_fills_as_the_network_does(inpainter, io):
    options = replace(SMALL, io=io)
    program = RECIPE.program(options, inpainter, "whole")
    for infos, names in ((program.takes, program.inputs), (program.gives, ("output",))):
        assert [info.name for info in infos] == list(names)
    for info in program.takes:
        assert tuple(program.inputs[info.name].shape) == info.shape
    judge = RECIPE.judge(options, Reference(inpainter, "untrained", ""))
    runner = RECIPE.caller(options, {"whole": TorchRunner(program)})
    scene = next(iter(RECIPE.scenes(options, None, None)))
    figures = judge.compare(runner, scene)
    assert not figures.failures()
    assert figures.known_max_abs == 0


def test_native_program_sees_the_hole_as_zeros(inpainter):
    program = RECIPE.program(replace(SMALL, io="native"), inpainter, "whole")
    packed = program.inputs["input"]
    assert packed.shape == (1, 4, 64, 96)
    assert (packed[:, :3] * packed[:, 3:] == 0).all()
    assert packed[:, 3].sum() > 0
    assert RECIPE.program(SMALL, inpainter, "whole").inputs.keys() == {"image", "mask"}


def test_windows_and_names():
    assert SMALL.window == Window(64, 96)
    assert SMALL.sized(Window(128, 72)).size == "72x128"
    assert replace(SMALL, io="native").form("whole") == "native"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (replace(SMALL, preset="bigg"), "did you mean big?"),
        (replace(SMALL, size="100x64"), "100 is not a multiple of 8; nearest is 96"),
        (replace(SMALL, size="64x8"), "sides go from 16 to 2048, not 8"),
        (LamaOptions(preset="dilated", size="64x72"), "multiples of 8 from 72"),
        (replace(SMALL, io="raw"), "--io raw is unknown"),
    ],
)
def test_what_it_cannot_be_is_refused(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        options.check()


@pytest.mark.parametrize("preset", PRESETS)
def test_checkpoints_are_recognised_by_their_names(preset):
    with torch.device("meta"):
        names = frozenset(Lama(PRESETS[preset]).state_dict())
    assert RECIPE.recognises(names) >= 0.8
    assert RECIPE.recognises(frozenset({"encoder.0.weight"})) == 0


class Inverted:
    """Stands for an artifact; remembers what it was given."""

    def __init__(self) -> None:
        self.image = self.mask = np.empty(0)

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        self.image, self.mask = inputs["image"], inputs["mask"]
        return {"output": 1 - self.image}


@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_its_authors_way_mirrors_below_and_to_the_right(dtype, most):
    draw = np.random.default_rng(0)
    photo = (draw.random((30, 21, 3)) * most).astype(dtype)
    hole = draw.random((30, 21)) < 0.4
    network = Inverted()
    made = Running(replace(SMALL, size="24x32"), {"whole": network}, network)
    before = photo.copy()
    filled = RECIPE.pipelines()["lama"](made, photo, hole)
    assert np.array_equal(photo, before)
    assert filled.dtype == dtype
    assert np.array_equal(filled[~hole], photo[~hole])
    assert np.abs(filled[hole].astype(float) - (most - photo[hole].astype(float))).max() <= 1
    image = network.image[0].transpose(1, 2, 0)
    assert np.array_equal(image[30:], image[28:30][::-1])
    assert np.array_equal(image[:, 21:], image[:, 18:21][:, ::-1])
    assert np.array_equal(network.mask[0, 0, :30, :21], hole)
    assert np.array_equal(network.mask[0, 0, 30:], network.mask[0, 0, 28:30][::-1])


def test_its_authors_way_needs_the_photos_own_size():
    made = Running(SMALL, {"whole": Inverted()}, Inverted())
    photo, hole = np.zeros((30, 21, 3), np.uint8), np.ones((30, 21), bool)
    with pytest.raises(UserError, match="--size 24x32; this one takes 96x64"):
        RECIPE.pipelines()["lama"](made, photo, hole)
