"""The two-stage system's options, its weights in two files, and its ways around the hole."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rethined_export.cli.export import main as export
from rethined_export.errors import UserError
from rethined_export.models.dfnet import DfNet
from rethined_export.models.twostage import Refinement, TwoStageNetworks
from rethined_export.photo.window import Window
from rethined_export.recipes import recipe
from rethined_export.recipes.twostage import RECIPE
from rethined_export.recipes.twostage.options import TwoStageOptions
from rethined_export.recipes.twostage.weights import loaded
from rethined_export.recipes.types import Running, Source
from rethined_export.spec import ExportSpec

SMALL = TwoStageOptions(size="512x256")
WIDTHS = [2] * 8


def test_it_is_registered():
    assert recipe("two-stage") is RECIPE


def test_windows_and_names():
    assert TwoStageOptions().window == Window(1024, 1024)
    assert SMALL.sized(Window(256, 768)).size == "768x256"
    native = ExportSpec("two-stage", "onnx", replace(SMALL, io="native"), untrained=True)
    names = [spec.file_name() for spec in native.parts.values()]
    assert [ExportSpec("two-stage", "onnx", SMALL, untrained=True).file_name(), *names] == [
        "two-stage-untrained-places2-512x256-fp32.onnx",
        "two-stage-untrained-places2-512x256-coarse-native-fp32.onnx",
        "two-stage-untrained-places2-512x256-refine-native-fp32.onnx",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (replace(SMALL, preset="place"), "did you mean places2?"),
        (replace(SMALL, size="1000x512"), "1000 is not a multiple of 256; nearest is 1024"),
        (replace(SMALL, size="2304x512"), "goes up to 2048; add --io native for a pair"),
        (replace(SMALL, size="8192x512", io="native"), "sides go from 256 to 4096, not 8192"),
    ],
)
def test_what_it_cannot_be_is_refused(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        options.check()


def test_a_pair_goes_further():
    replace(SMALL, size="2304x512", io="native").check()


# --- Two checkpoints ------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Both networks as they are published, both in one file, and another model's."""
    torch.manual_seed(0)
    coarse, refine = DfNet(WIDTHS).state_dict(), Refinement(WIDTHS).state_dict()
    made = {name: tmp_path / f"{name}.pth" for name in ("coarse", "refine", "both", "other")}
    torch.save(coarse, made["coarse"])
    torch.save({"state_dict": refine}, made["refine"])
    torch.save({"coarse": coarse, "refine": refine}, made["both"])
    torch.save({"layer.weight": torch.ones(3)}, made["other"])
    return made


def load(first: Path, *others: Path, key: str | None = None):
    return loaded(TwoStageNetworks(WIDTHS, WIDTHS), Source(first, key, others))


def test_networks_are_found_in_whatever_order_and_in_one_file(files):
    expected = torch.load(files["coarse"])
    made = [
        load(files["coarse"], files["refine"]),
        load(files["refine"], files["coarse"]),
        load(files["both"]),
    ]
    for reference in made:
        state = reference.model.state_dict()
        for name, tensor in expected.items():
            assert torch.equal(state[f"networks.coarse.{name}"], tensor)
    assert made[0].sha256 == made[1].sha256 != made[2].sha256
    assert made[0].weights == "coarse.pth + refine.pth"
    assert "stage two, the refinement: weights at state_dict" in made[0].derived


def test_a_file_of_our_own_names_is_read(files, tmp_path):
    path = tmp_path / "joined.safetensors"
    networks = TwoStageNetworks(WIDTHS, WIDTHS)
    save_file(networks.state_dict(), path)
    state = load(path).model.state_dict()
    assert all(torch.equal(state[f"networks.{n}"], t) for n, t in networks.state_dict().items())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["coarse"], "only the weights of stage one, DFNet, are there, those of stage two, the "
         "refinement, are missing; give both: --checkpoint model_places2.pth --checkpoint "
         "refinement.pth"),
        (["refine"], "only the weights of stage two, the refinement, are there, those of stage "
         "one, DFNet, are missing"),
        (["coarse", "coarse"], "coarse.pth and coarse.pth: only the weights of stage one"),
        (["other"], "other.pth: neither network's weights are there; give --checkpoint"),
        (["both", "other"], "other.pth holds no weights that are needed beside those of both.pth"),
    ],
)  # fmt: skip
def test_what_is_missing_is_told(files, given, message):
    with pytest.raises(UserError, match=re.escape(message)):
        load(*(files[name] for name in given))


def test_a_place_is_for_one_file(files, tmp_path):
    path = tmp_path / "runs.pth"
    states = [TwoStageNetworks(WIDTHS, WIDTHS).state_dict() for _ in range(2)]
    torch.save(dict(zip(("first", "second"), states, strict=True)), path)
    state = load(path, key="second").model.state_dict()
    assert all(torch.equal(state[f"networks.{n}"], tensor) for n, tensor in states[1].items())
    with pytest.raises(UserError, match="--checkpoint-key is a place in one --checkpoint"):
        load(files["coarse"], files["refine"], key="state_dict")


def test_widths_that_do_not_fit_name_the_file(files):
    with pytest.raises(UserError, match=r"coarse.pth does not fit this network"):
        loaded(TwoStageNetworks(), Source(files["coarse"], None, (files["refine"],)))


def test_the_command_line_takes_as_many_files_as_a_model_has_networks(files, tmp_path, capsys):
    folder = ["--output", str(tmp_path / "dist"), "--target", "onnx"]
    both = ["--checkpoint", str(files["coarse"]), "--checkpoint", str(files["refine"])]
    assert export(["--model", "lama", *both, *folder]) == 2
    assert "lama takes at most 1 --checkpoint, not 2" in capsys.readouterr().err
    assert export(["--model", "two-stage", *both[:2], *folder]) == 2
    message = capsys.readouterr().err
    assert "give both: --checkpoint model_places2.pth --checkpoint refinement.pth" in message


def test_networks_are_recognised_alone_and_together():
    with torch.device("meta"):
        both = TwoStageNetworks()
    assert RECIPE.recognises(frozenset(both.state_dict())) == 1
    assert RECIPE.recognises(frozenset(both.refine.state_dict())) == 1
    assert RECIPE.recognises(frozenset(both.coarse.state_dict())) == 0
    assert recipe("dfnet").recognises(frozenset(both.coarse.state_dict())) == 1


# --- A photo at its own size ----------------------------------------------------------------------


class Inverted:
    """Stands for an artifact; remembers what it was given."""

    name, takes = "inverted", frozenset({"image", "mask"})

    def __init__(self) -> None:
        self.image = self.mask = np.empty(0)

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        self.image, self.mask = inputs["image"], inputs["mask"]
        return {"output": 1 - self.image}


@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_a_photo_is_padded_with_black_that_is_known(dtype, most):
    draw = np.random.default_rng(0)
    photo = (draw.random((240, 300, 3)) * most).astype(dtype)
    hole = draw.random((240, 300)) < 0.4
    network = Inverted()
    made = Running(SMALL, {"whole": network}, network)
    before = photo.copy()
    filled = RECIPE.pipelines()["two-stage"](made, photo, hole)
    assert np.array_equal(photo, before)
    assert filled.dtype == dtype
    assert np.array_equal(filled[~hole], photo[~hole])
    # Rounded to whole numbers, or float32's own rounding.
    assert (
        np.abs(filled[hole].astype(float) - (most - photo[hole].astype(float))).max() <= 1e-6 * most
    )
    assert network.image.shape == (1, 3, 256, 512)
    assert not network.image[..., 240:, :].any() and not network.image[..., 300:].any()
    assert np.array_equal(network.mask[0, 0, :240, :300], hole)
    assert network.mask.sum() == hole.sum()


def test_ways_around_the_hole_need_the_photos_own_size_and_the_letter_a_pair():
    network = Inverted()
    made = Running(SMALL, {"whole": network}, network)
    photo, hole = np.zeros((300, 200, 3), np.uint8), np.ones((300, 200), bool)
    with pytest.raises(UserError, match="--size 256x512; this one takes 512x256"):
        RECIPE.pipelines()["two-stage"](made, photo, hole)
    with pytest.raises(UserError, match="export a pair with --io native"):
        RECIPE.pipelines()["two-stage-original"](made, photo, hole)
