"""HiFill's options, its native program's callers, and its checkpoints in either order."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rethined_export.errors import UserError
from rethined_export.models.hifill import PRESETS, HiFill
from rethined_export.parity.report import REWRITE_GATE
from rethined_export.photo.window import Window
from rethined_export.recipes.hifill import RECIPE
from rethined_export.recipes.hifill.caller import NativeRunner
from rethined_export.recipes.hifill.options import HiFillOptions
from rethined_export.recipes.types import Running, Source, TorchRunner, scene
from rethined_export.spec import ExportSpec
from tests.guests import narrow_hifill

DEFAULT = HiFillOptions()


def test_windows_and_names():
    assert DEFAULT.window == Window.square(1024)
    assert DEFAULT.sized(Window.square(4096)).size == "4096x4096"
    names = [
        ExportSpec("hifill", "onnx", options, untrained=True).file_name()
        for options in (DEFAULT, HiFillOptions(size="512x512", io="native"))
    ]
    assert names == [
        "hifill-untrained-places2-1024-fp32.onnx",
        "hifill-untrained-places2-512-native-fp32.onnx",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (replace(DEFAULT, preset="place"), "did you mean places2?"),
        (replace(DEFAULT, size="800x800"), "800 is not a multiple of 512; nearest is 1024"),
        (replace(DEFAULT, size="4608x4608"), "sides go from 512 to 4096, not 4608"),
        (replace(DEFAULT, size="1024x512"), "HiFill takes squares; the nearest are 512 and 1024"),
        (replace(DEFAULT, io="raw"), "--io raw is unknown"),
    ],
)
def test_what_it_cannot_be_is_refused(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        options.check()


# --- The network alone ----------------------------------------------------------------------------


@pytest.mark.parametrize("by", [1, 2, 4])
def test_a_native_program_serves_every_size(by):
    """The same file; the caller mixes residuals of the hole's cells only."""
    model = narrow_hifill().model
    program = RECIPE.program(HiFillOptions(size="256x256", io="native"), model, "whole")
    assert [info.shape for info in program.gives] == [(1, 3, 256, 256), (1, 256, 256)]
    inputs = scene(Window.square(256 * by))
    with torch.no_grad():
        truth = model(**inputs).numpy()
    caller = NativeRunner(TorchRunner(program), model.config)
    made = caller(**{name: value.numpy() for name, value in inputs.items()})["output"]
    assert np.abs(made - truth).max() <= REWRITE_GATE


def test_residuals_without_a_hole_are_not_looked_for():
    model = narrow_hifill().model
    program = RECIPE.program(HiFillOptions(size="256x256", io="native"), model, "whole")
    image = np.random.default_rng(0).random((1, 3, 512, 512), np.float32)
    caller = NativeRunner(TorchRunner(program), model.config)
    made = caller(image=image, mask=np.zeros((1, 1, 512, 512), np.float32))["output"]
    assert np.array_equal(made, image)


class Grey:
    """Stands for a native artifact: paints grey, and every cell from itself."""

    name, takes = "grey", frozenset({"input"})

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        attention = np.eye(1024, dtype=np.float32)[None]
        return {"output": np.zeros((1, 3, 512, 512), np.float32), "attention": attention}


@pytest.mark.parametrize("way", ["hifill-original", "hifill-atlas"])
@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 255), (np.uint16, 65535)])
def test_a_photo_of_any_size_goes_through_the_published_programs(way, dtype, most):
    photo = (np.random.default_rng(0).random((90, 140, 3)) * 255).astype(np.uint8)
    photo = (photo.astype(np.float64) * (most / 255)).astype(dtype)
    hole = np.zeros((90, 140), bool)
    hole[20:60, 30:80] = True
    made = Running(HiFillOptions(size="512x512", io="native"), {"whole": Grey()}, Grey())
    before = photo.copy()
    filled = RECIPE.pipelines()[way](made, photo, hole)
    assert np.array_equal(photo, before)
    assert filled.dtype == dtype
    assert np.unique(filled[30:50, 40:70]).tolist() == [most * 127 // 255]
    far = np.ones_like(hole)
    far[18:62, 28:82] = False
    assert np.array_equal(filled[far], photo[far])


def test_the_published_programs_need_the_network_alone():
    made = Running(DEFAULT, {"whole": Grey()}, Grey())
    photo, hole = np.zeros((30, 20, 3), np.uint8), np.ones((30, 20), bool)
    with pytest.raises(UserError, match="export with --io native"):
        RECIPE.pipelines()["hifill-atlas"](made, photo, hole)


# --- Checkpoints ----------------------------------------------------------------------------------


def state(seed: int) -> dict[str, torch.Tensor]:
    """Tensors of the network as torch has them."""
    draw = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = {key: x.shape for key, x in HiFill(PRESETS["places2"]).state_dict().items()}
    return {key: torch.rand(shape, generator=draw) for key, shape in shapes.items()}


def as_tensorflow(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Kernels ``[k, k, in, out]``."""
    turned = {k: x.permute(2, 3, 1, 0) if x.dim() == 4 else x for k, x in tensors.items()}
    return {key: x.contiguous() for key, x in turned.items()}


@pytest.mark.parametrize("turn", [dict, as_tensorflow])
def test_kernels_may_be_in_torchs_order_or_tensorflows(turn, tmp_path):
    tensors = state(0)
    others = {
        "discriminator/conv1/kernel": torch.ones(5, 5, 3, 64),
        "generator/re_dil_d1/w/Adam": torch.ones(3, 3, 128, 128),
        "beta1_power": torch.ones(()),
    }
    save_file(turn(tensors) | others, tmp_path / "hifill.safetensors")
    model = RECIPE.reference(DEFAULT, Source(tmp_path / "hifill.safetensors")).model
    made = model.state_dict()
    assert all(torch.equal(made[f"network.{key}"], x) for key, x in tensors.items())
    assert RECIPE.recognises(frozenset(tensors) | frozenset(others)) == 1


def test_kernels_of_either_order_cannot_be_confused():
    for key, x in state(0).items():
        if x.dim() == 4:
            assert tuple(x.permute(2, 3, 1, 0).shape) != tuple(x.shape), key


def test_what_does_not_fit_is_named(tmp_path):
    tensors = state(1)
    del tensors["generator/re_dil_d8/pw"]
    path = tmp_path / "hifill.safetensors"
    save_file(tensors, path)
    with pytest.raises(UserError, match=r"does not fit.*generator/re_dil_d8/pw"):
        RECIPE.reference(DEFAULT, Source(path))
    save_file({f"generator/{n}": torch.ones(2) for n in ("a", "b")}, path)
    with pytest.raises(UserError, match="does not fit"):
        RECIPE.reference(DEFAULT, Source(path))


@pytest.mark.parametrize("name", ["0.data-00000-of-00001", "0.index", "0.meta", "hifill.pb"])
def test_files_of_tensorflows_are_refused_with_the_way_to_save_them(name):
    with pytest.raises(UserError, match=rf"{name} is a file of TensorFlow's; save its variables"):
        RECIPE.reference(DEFAULT, Source(Path(name)))
