"""Parallel multi-resolution fusion: its options, its judge, and that there are no weights."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from rethined_export.converters.types import ArtifactError
from rethined_export.errors import UserError
from rethined_export.models.pmrf import mask_update
from rethined_export.photo.window import Window
from rethined_export.recipes.pmrf import RECIPE
from rethined_export.recipes.pmrf.options import PmrfOptions
from rethined_export.recipes.types import Reference, Source, TorchRunner
from rethined_export.spec import ExportSpec
from tests.guests import narrow_pmrf

SMALL = PmrfOptions(size="96x64")


@pytest.fixture(scope="module")
def judged():
    """A narrow network's judge, its program as a runner, and a scene."""
    model = narrow_pmrf().model
    judge = RECIPE.judge(SMALL, Reference(model, "untrained", ""))
    runner = TorchRunner(RECIPE.program(SMALL, model, "whole"))
    return judge, runner, list(RECIPE.scenes(SMALL, None, None))[-1]


class Changed:
    """A runner whose updates, or their absence, are another's."""

    name, takes = "changed", frozenset({"image", "mask"})

    def __init__(self, runner, change):
        self._runner, self._change = runner, change

    def __call__(self, **inputs):
        outputs = self._runner(**inputs)
        updates = self._change(np.array(outputs.pop("updates")))
        return outputs if updates is None else {**outputs, "updates": updates}


@pytest.mark.parametrize("io", ["plain", "native"])
def test_either_program_fills_as_the_network_does(io, judged):
    judge, _, scene = judged
    options, model = replace(SMALL, io=io), narrow_pmrf().model
    program = RECIPE.program(options, model, "whole")
    figures = judge.compare(RECIPE.caller(options, {"whole": TorchRunner(program)}), scene)
    assert not figures.failures()
    assert figures.known_max_abs == 0
    assert (figures.flips, figures.unexplained) == (0, 0)
    assert figures.decided > 1000
    assert judge.totals([figures])["choices"] == figures.decided


def test_a_place_known_too_early_is_not_explained(judged):
    """Every place of the highest level known from the start: as if the share asked for were 0."""
    judge, runner, scene = judged

    def hurried(updates):
        updates[:, 3] = updates.max()
        return updates

    figures = judge.compare(Changed(runner, hurried), scene)
    assert figures.unexplained > 100
    assert any("unexplained flips of the mask" in line for line in figures.failures())


def test_a_known_place_forgotten_is_not_explained(judged):
    judge, runner, scene = judged
    row, column = np.argwhere(scene.mask[0, 0].numpy() == 0)[0]

    def forgetful(updates):
        updates[:, 3, row, column] = 0
        return updates

    assert judge.compare(Changed(runner, forgetful), scene).unexplained == 1


def test_a_decision_at_the_threshold_may_be_either(judged):
    """In a grey photo no contour runs anywhere: nothing says what is painted first. The artifact's
    highest level lets its first update pass, and torch follows."""
    judge, _, scene = judged
    grey, asked = replace(scene, image=torch.full_like(scene.image, 0.5)), []

    def shy(known, count, priority):
        asked.append(known)
        return known if len(asked) == 7 else mask_update(known, count, priority)

    module = RECIPE.program(SMALL, narrow_pmrf().model, "whole").module
    output, updates = (made.numpy() for made in module(grey.image, grey.mask, shy))
    own = Changed(lambda **_: {"output": output, "updates": updates}, lambda updates: updates)
    figures = judge.compare(own, grey)
    assert figures.flips > 100
    assert figures.unexplained == 0
    assert figures.max_abs == 0


@pytest.mark.parametrize("change", [lambda _: None, lambda updates: updates[:, :3]])
def test_an_artifact_without_its_decisions_cannot_be_judged(judged, change):
    judge, runner, scene = judged
    with pytest.raises(ArtifactError, match=r"not 'updates' of \(1, 4, 64, 96\)"):
        judge.compare(Changed(runner, change), scene)


def test_less_precision_decides_for_itself(judged):
    judge, runner, scene = judged
    outputs = runner(image=scene.image.numpy(), mask=scene.mask.numpy())
    assert judge.fidelity(outputs, scene).psnr_hole_db > 100


def test_windows_and_names():
    assert PmrfOptions().window == Window.square(256)
    assert SMALL.window == Window(64, 96)
    assert SMALL.sized(Window(128, 72)).size == "72x128"
    names = [
        ExportSpec("pmrf", "onnx", options).file_name()
        for options in (PmrfOptions(), replace(SMALL, io="native"))
    ]
    assert names == [
        "pmrf-untrained-slides-256-fp32.onnx",
        "pmrf-untrained-slides-96x64-native-fp32.onnx",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (replace(SMALL, size="100x64"), "100 is not a multiple of 8; nearest is 96"),
        (replace(SMALL, size="64x24"), "sides go from 32 to 512, not 24"),
        (replace(SMALL, size="1024x64"), "sides go from 32 to 512, not 1024"),
        (replace(SMALL, preset="slide"), "did you mean slides?"),
    ],
)
def test_what_it_cannot_be_is_refused(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        options.check()


def test_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"any\.pth: pmrf takes no checkpoint; its authors"):
        RECIPE.reference(PmrfOptions(), Source(tmp_path / "any.pth"))


def test_a_hole_needs_something_known():
    hole = np.ones(SMALL.window, bool)
    assert not RECIPE.bears(SMALL, hole)
    hole[5, 7] = False
    assert RECIPE.bears(SMALL, hole)
