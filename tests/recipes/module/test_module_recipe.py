"""A user's own module: what is run, what is refused, how it is judged, what does not convert."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rethined_export.cli.export import main as export
from rethined_export.cli.parity import main as parity
from rethined_export.converters.diagnosis import _CONDITIONS, diagnose, pitfalls
from rethined_export.converters.types import ArtifactError, run_program
from rethined_export.errors import UserError
from rethined_export.parity.tensors import Inputs, TensorJudge, given_inputs, random_inputs
from rethined_export.recipes.module import RECIPE, ModuleOptions

FILE = """
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.paint = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, image, mask):
        painted = torch.sigmoid(self.paint(torch.cat([image * (1 - mask), mask], 1)))
        return mask * painted + (1 - mask) * image

class Bicubic(Net):
    def forward(self, image, mask):
        return F.avg_pool2d(F.interpolate(image, scale_factor=2, mode="bicubic"), 2)

class Mean(nn.Module):
    def forward(self, image, mask):
        return image.mean((2, 3))

class Sums(nn.Module):
    def forward(self, a, b):
        return {"sum": a.sum(0) + b.sum(0), "product": a @ b.T}

def build(): return Net()
def bicubic(): return Bicubic()
def mean(): return Mean()
def sums(): return Sums()
def fails(): raise ValueError("no weights here")
def number(): return 3
def on_a_gpu(): return Net().to("cuda")
def leaves(): raise SystemExit(7)
class Text(nn.Module):
    def forward(self, image, mask):
        return "an image"
def text(): return Text()
"""
IMAGE, MASK = "image=1x3x32x48", "mask=1x1x32x48"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(FILE)
    return path


def options(file: Path, function: str, *inputs: str) -> ModuleOptions:
    return ModuleOptions(module=f"{file}:{function}", input=inputs or (IMAGE, MASK))


def refused(chosen: ModuleOptions) -> str:
    with pytest.raises(UserError) as caught:
        RECIPE.program(chosen, RECIPE.reference(chosen, None).model, "whole")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("mean", "gives [1, 3], not an image [1, 3, 32, 48]"),
        ("fails", "failed: ValueError: no weights here"),
        ("number", "returns a int, not a torch module"),
        ("on_a_gpu", "failed: "),
        ("leaves", "failed: SystemExit: 7"),
        ("missing", "has no function missing"),
        ("text", "gives a str as output"),
    ],
)
def test_refused_modules(function: str, said: str, file: Path) -> None:
    assert said in refused(options(file, function))


def test_inputs_that_the_module_does_not_take(file: Path) -> None:
    assert "does not run on a=2x3, b=2x4 on a CPU" in refused(
        options(file, "sums", "a=2x3", "b=2x4")
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--module", "nowhere.py:build"], "there is no file nowhere.py"),
        (["--module", "net.py"], "is not FILE.py:FUNCTION"),
        (["--module", "FILE:build"], "needs an --input"),
        (["--module", "FILE:build", "--input", "image"], "is not NAME=SHAPE"),
        (["--module", "FILE:build", "--input", "image=1x0x3"], "is not NAME=SHAPE"),
        (["--module", "FILE:build", "--input", "image=1x²"], "is not NAME=SHAPE"),
        (["--module", "FILE:build", "--input", IMAGE, "--input", IMAGE], "names one twice"),
        (["--module", "FILE:build", "--input", IMAGE, "--given", "x.npz"], "no such file"),
        (["--module", "FILE:build", "--input", IMAGE, "--untrained"], "brings its own weights"),
    ],
)
def test_refused_command_lines(
    arguments: list[str], said: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export([text.replace("FILE", str(file)) for text in arguments]) == 2
    assert said in capsys.readouterr().err


def test_an_artifact_carries_no_place_of_this_machine(file: Path) -> None:
    assert str(file.parent) not in json.dumps(options(file, "build").embedded().module)


def test_random_inputs_repeat_and_differ_by_seed() -> None:
    shapes = {"a": (2, 3)}
    first, again, other = (random_inputs(shapes, seed)["a"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_given_inputs(tmp_path: Path) -> None:
    path = tmp_path / "given.npz"
    np.savez(path, a=np.ones((2, 3)))
    assert given_inputs(path, {"a": (2, 3)}).tensors["a"].dtype == torch.float32
    for shapes, said in (({"b": (2, 3)}, "b"), ({"a": (3, 2)}, "a is (2, 3), not (3, 2)")):
        with pytest.raises(UserError, match="--given") as caught:
            given_inputs(path, shapes)
        assert said in str(caught.value)


class Double:
    """A runner whose output is off in one value."""

    name, takes = "double", frozenset({"a"})

    def __init__(self, off: float, shape: tuple[int, ...] = (4,)) -> None:
        self._off, self._shape = off, shape

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        made = np.full(self._shape, 100, np.float32)
        made.flat[0] += self._off
        return {"output": made}


@pytest.mark.parametrize(("off", "passes"), [(5e-3, True), (2e-2, False), (np.nan, False)])
def test_values_are_judged_relative_to_the_largest(off: float, passes: bool) -> None:
    scene = Inputs("one", {"a": torch.zeros(1)})
    found = TensorJudge(Double(0)).compare(Double(off), scene)
    assert (not found.failures()) is passes


def test_outputs_of_another_shape_are_refused() -> None:
    with pytest.raises(ArtifactError, match="its outputs are"):
        TensorJudge(Double(0)).compare(Double(0, (2, 2)), Inputs("one", {"a": torch.zeros(1)}))


@pytest.mark.parametrize("pitfall", pitfalls(), ids=lambda p: f"{p.operator} {p.when}".strip())
def test_pitfalls_name_operators_that_torch_has(pitfall: object) -> None:
    """An operator that was renamed would never be found again."""
    namespace, name = pitfall.operator.split(".")
    assert hasattr(getattr(torch.ops, namespace), name)
    assert not pitfall.when or pitfall.when in _CONDITIONS


class Kinds(torch.nn.Module):
    """One operator that a target refuses, by name."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.up = torch.nn.ConvTranspose2d(3, 3, 3, 2, 1, output_padding=1)
        self.plain = torch.nn.ConvTranspose2d(3, 3, 4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "output padding":
            return self.up(x)
        if self.kind == "none":
            return self.plain(x)
        if self.kind == "kernel":
            return torch.nn.functional.conv2d(x, x[:, :, :3, :3])
        if self.kind == "less":
            return 1 - torch.nn.functional.conv2d(x, torch.ones(1, 3, 1, 1))
        if self.kind == "shrink":
            return torch.nn.functional.interpolate(x, scale_factor=0.5)
        return torch.fft.rfft2(x).real


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("output padding", "rethined_export.rewrite.transposed"),
        ("kernel", "matrix product"),
        ("shrink", "wrong values"),
        ("less", "turned around"),
        ("fft", "rethined_export.rewrite.fourier"),
        ("none", ""),
    ],
)
def test_what_does_not_convert_is_named_with_its_line(kind: str, said: str) -> None:
    module = Kinds(kind).eval()
    program = run_program(module, {"x": torch.rand(1, 3, 8, 8)}, ("y",), ())
    found = diagnose(program, "tflite")
    if not said:
        assert found == ""
    else:
        assert said in found
        assert f"at {Path(__file__).name}, line " in found


def test_export_parity_and_a_target_that_refuses(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real conversions: a module, one that is no inpainter, and one that Core ML refuses."""
    place = ["--output", str(tmp_path / "dist"), "--target"]
    inputs = ["--input", IMAGE, "--input", MASK]
    assert export(["--module", f"{file}:build", *inputs, *place, "coreml"]) == 0
    (artifact,) = (tmp_path / "dist").glob("*.mlpackage")
    assert parity([str(artifact)]) == 0
    assert export(["--module", f"{file}:bicubic", *inputs, *place, "coreml"]) == 5
    error = capsys.readouterr().err.splitlines()[-1]
    assert "aten.upsample_bicubic2d is refused by coreml at net.py, line 18" in error
    sums = ["--input", "a=4x8", "--input", "b=5x8"]
    assert export(["--module", f"{file}:sums", *sums, *place, "coreml"]) == 0
