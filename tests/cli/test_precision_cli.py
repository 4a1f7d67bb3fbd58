"""rethined-export --precision: what it refuses, consent, and a small network all the way."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from commands import last_line, photo, refusal, save_image
from onnx import numpy_helper

from rethined_export import export as pipeline
from rethined_export.artifacts import read_manifest
from rethined_export.cli.export import main
from rethined_export.cli.inpaint import main as inpaint
from rethined_export.cli.lint import main as lint
from rethined_export.cli.parity import main as parity
from rethined_export.deployed import embedded_spec
from rethined_export.jobs.parent import JobError
from tests.copies import copied

Capture = pytest.CaptureFixture[str]
HELD = {"psnr_hole_db": 30.0, "loss_db": 0.3, "loss_ssim": 0.01}
NAME = "rethined-mobile-512-gather-int8.onnx"
PHOTOS = Path(__file__).parents[1] / "data" / "photos"


# --- Refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--precision", "int9"], ["--precision int9", "did you mean int8"]),
        (["--target", "onnx", "--precision", "palette6"],
         ["palette6 is not for onnx", "fp32, fp16, int8, int8-weights, mixed, int8-dynamic"]),
        (["--target", "coreml", "--precision", "int8-dynamic"],
         ["int8-dynamic is not for coreml", "palette4"]),
        (["--precision", "palette4"], ["palette4 is not for onnx"]),
        (["--precision", "fp16", "--calibration-method", "entropy"],
         ["--precision fp16 measures no activations"]),
        (["--precision", "int8-weights", "--calibration-method", "entropy"],
         ["--precision int8-weights measures no activations; leave --calibration-method out"]),
        (["--precision", "fp16", "--calibration", str(PHOTOS)], ["fp16 looks at no photos"]),
        (["--precision", "int8", "--target", "tflite", "--calibration-method", "entropy"],
         ["--calibration-method entropy is not for tflite", "it has minmax"]),
        (["--precision", "int8", "--calibration-method", "entropie"], ["did you mean entropy?"]),
        (["--precision", "int8", "--integer-io", "--target", "coreml"],
         ["--integer-io goes with --target onnx or tflite", "not with coreml and int8"]),
        (["--precision", "fp16", "--integer-io", "--target", "tflite"],
         ["--integer-io goes with --target onnx or tflite", "not with tflite and fp16"]),
        (["--precision", "int8", "--integer-io", "--target", "tflite", "--upscale", "patches",
          "--split"], ["--integer-io: what calls this program gives it floats"]),
        (["--model", "lama", "--untrained", "--io", "native", "--target", "tflite",
          "--precision", "int8", "--integer-io"], ["gives it floats"]),
        (["--accept-quality"], ["--accept-quality and --precision fp32", "drop one"]),
        (["--precision", "int8", "--accept-quality", "--no-verify"], ["--no-verify contradict"]),
    ],
)  # fmt: skip
def test_refused_options(
    options: list[str], said: list[str], tmp_path: Path, capsys: Capture
) -> None:
    line = refusal(main, [*options, "--output", tmp_path / "dist"], capsys)
    assert all(part in line for part in said), line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["empty", "missing", "one colour", "unreadable"])
def test_refused_calibration_photos(kind: str, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "photos"
    if kind != "missing":
        folder.mkdir()
    if kind == "one colour":
        for level in (0, 255):
            save_image(folder / f"{level}.png", np.full((64, 64, 3), level, np.uint8))
    if kind == "unreadable":
        (folder / "photo.jpg").write_text("not a photo")
    before = set(tmp_path.rglob("*"))
    options = ["--target", "onnx", "--precision", "int8", "--calibration", folder]
    line = refusal(main, [*options, "--output", tmp_path / "dist"], capsys)
    assert str(folder) in line
    assert set(tmp_path.rglob("*")) == before


# --- Consent, without running a worker -----------------------------------------------------------


def worker(accepting: dict[str, float] | None, seen: list[Any]) -> Any:
    """A stand-in for run_job: the gate is missed."""

    def run_job(job: Any, arguments: dict[str, Any], on_stage: Any) -> dict[str, Any]:
        seen.append((job.__name__, arguments))
        if job is pipeline.verify:
            figures = {"psnr_hole_db": 31.0, "loss_db": 0.2, "loss_ssim": 0.0}
            quality = {**figures, "gate": {}, "accepting": accepting}
            return {"passed": False, "failures": ["coffee: too little"], "max_abs": 0.1,
                    "psnr_hole_db": 31.0, "columns": {}, "quality": quality,
                    "scenes": [], "peak_rss_bytes": 1}  # fmt: skip
        Path(arguments["path"]).write_bytes(b"x")
        if job is pipeline.reduce:
            assert Path(arguments["source"]).is_file()
            return {"operators": {"Conv": 1}, "kept": ["Conv_3"], "peak_rss_bytes": 2,
                    "calibrated": {"scenes": 16, "sha256": "c" * 64}}  # fmt: skip
        return {"seconds": 1.0, "operators": {"Add": 1}, "weights": "untrained", "derived": [],
                "weights_sha256": "a" * 64, "parameters": 1, "notes": [], "calibrated": None,
                "takes": [], "gives": [], "peak_rss_bytes": 1}  # fmt: skip

    return run_job


def export(folder: Path, *more: str) -> int:
    options = ["--target", "onnx", "--hr", "512", "--precision", "int8", "--untrained"]
    return main([*options, "--output", str(folder / "dist"), *more])


def test_below_its_gate_nothing_is_kept(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "run_job", worker(HELD, []))
    assert export(tmp_path) == 3
    said = last_line(capsys.readouterr().err)
    assert "coffee: too little" in said
    assert "--accept-quality" in said
    assert not list(tmp_path.iterdir())


def test_consent_keeps_it_and_is_signed(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "run_job", worker(HELD, []))
    assert export(tmp_path, "--accept-quality") == 0
    assert "below its gate, accepted" in capsys.readouterr().out
    [artifact] = (tmp_path / "dist").glob("*.onnx")
    assert {file.name for file in artifact.parent.iterdir()} == {
        artifact.name,
        f"{artifact.name}.json",
    }
    manifest = read_manifest(artifact)
    assert manifest.accepted == HELD
    assert manifest.parity is not None
    assert not manifest.parity["passed"]
    assert manifest.kept == ("Conv_3",)
    assert manifest.operators == {"Conv": 1}
    assert manifest.calibrated == {"scenes": 16, "sha256": "c" * 64}


def test_what_was_signed_is_the_gate_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(pipeline, "run_job", worker(HELD, seen))
    assert export(tmp_path, "--accept-quality") == 0
    [artifact] = (tmp_path / "dist").glob("*.onnx")
    assert parity([str(artifact)]) == 3
    assert [arguments["accepted"] for name, arguments in seen if name == "verify"] == [None, HELD]


def test_with_consent_int8_is_in_all_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(pipeline, "run_job", worker(HELD, seen))
    export(tmp_path)
    export(tmp_path, "--accept-quality")
    export(tmp_path, "--accept-quality", "--precision", "mixed")
    kept = [arguments["keep"] for name, arguments in seen if name == "reduce"]
    assert kept == [None, [], None]


def test_what_is_broken_takes_no_consent(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "run_job", worker(None, []))
    assert export(tmp_path, "--accept-quality") == 3
    assert "--accept-quality" not in last_line(capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_a_reduction_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = worker(HELD, [])

    def run_job(job: Any, arguments: dict[str, Any], on_stage: Any) -> dict[str, Any]:
        if job is pipeline.reduce:
            Path(arguments["path"]).write_bytes(b"half")
            raise JobError("broken", 1)
        made: dict[str, Any] = whole(job, arguments, on_stage)
        return made

    monkeypatch.setattr(pipeline, "run_job", run_job)
    assert export(tmp_path) == 1
    assert not list(tmp_path.iterdir())


# --- A small network, all the way ----------------------------------------------------------------

_NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(4, 48, 3, padding=1), nn.ReLU(), nn.Conv2d(48, 48, 3, padding=1), nn.ReLU(),
            nn.Conv2d(48, 48, 3, padding=1), nn.ReLU(), nn.Conv2d(48, 3, 3, padding=1))
        for layer in self.layers[::2]:  # or else it would be grey, whatever is broken in it
            layer.weight.data *= 2.5

    def forward(self, image, mask):
        known = image * (1 - mask)
        made = torch.sigmoid(self.layers(torch.cat([known, mask], dim=1)))
        return known + mask * made

def build():
    return Net()
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An int8 artifact of a network of four layers, calibrated on two photos."""
    return exported(tmp_path_factory.mktemp("small"))


#: What one channel gives is many times what the others do, whose steps it makes too large.
_LOUD = """
def build():
    net = Net()
    first, _, second, *_ = net.layers
    first.weight.data[0] *= 250
    first.bias.data[0] *= 250
    second.weight.data[:, 0] /= 250
    return net
"""


def exported(folder: Path, *more: str, network: str = _NETWORK) -> Path:
    (folder / "net.py").write_text(network)
    (folder / "photos").mkdir()
    for number in range(2):
        photo(folder / "photos" / f"{number}.png", 64 + number, 64)
    options = ["--module", f"{folder / 'net.py'}:build", "--input", "image=1x3x64x64"]
    options += ["--input", "mask=1x1x64x64", "--target", "onnx", "--precision", "int8"]
    options += ["--calibration", str(folder / "photos"), "--output", str(folder / "dist")]
    assert main([*options, *more]) == 0
    [artifact] = (folder / "dist").glob("*.onnx")
    return artifact


@pytest.mark.conversion
def test_images_of_8_bits(tmp_path: Path) -> None:
    """The manifest says how they are held, and the gates hold, known pixels included."""
    artifact = exported(tmp_path, "--integer-io")
    assert artifact.name == "module-own-net.build-64-int8-integer-io.onnx"
    manifest = read_manifest(artifact)
    for info in (*manifest.inputs, *manifest.outputs):
        assert info.dtype == "uint8"
        assert info.meaning.endswith("as uint8: value · 255")
    inputs = onnx.load(artifact).graph.input
    assert {v.type.tensor_type.elem_type for v in inputs} == {onnx.TensorProto.UINT8}


@pytest.mark.conversion
def test_its_name_manifest_and_spec_say_so(small: Path) -> None:
    manifest = read_manifest(small)
    assert small.name == "module-own-net.build-64-int8.onnx"
    assert manifest.spec.precision == embedded_spec(small).precision == "int8"
    assert manifest.calibrated is not None
    assert manifest.calibrated["scenes"] == 2
    assert manifest.operators["QuantizeLinear"] > 0
    assert manifest.parity is not None
    assert manifest.parity["quality"]["psnr_hole_db"] >= 32
    assert manifest.parity["psnr_hole_db"] == manifest.parity["quality"]["psnr_hole_db"]
    assert str(small.parent.parent) not in json.dumps(embedded_spec(small).to_dict())


@pytest.mark.conversion
def test_layers_that_do_not_bear_it_compute_in_floats(small: Path, tmp_path: Path) -> None:
    assert read_manifest(small).kept == ()
    loud = exported(tmp_path, network=_NETWORK + _LOUD)
    manifest = read_manifest(loud)
    assert manifest.kept == ("Conv_3", "Conv_5")  # what gives that channel, and what reads it
    assert manifest.parity is not None
    assert manifest.parity["quality"]["psnr_hole_db"] >= 32
    assert loud.stat().st_size <= small.stat().st_size
    stored = [one for one in onnx.load(loud).graph.initializer if one.name.endswith("_int8")]
    assert len(stored) == 4


@pytest.mark.conversion
def test_the_other_commands_take_it(small: Path, tmp_path: Path, capsys: Capture) -> None:
    assert parity([str(small)]) == 0
    assert "lost to the photo" in capsys.readouterr().out
    hole = np.zeros((64, 64), np.uint8)
    hole[20:40, 20:40] = 255
    mask = save_image(tmp_path / "mask.png", hole)
    filled = tmp_path / "filled.png"
    given = [photo(tmp_path / "photo.png"), mask, "--output", filled, "--artifact", small]
    assert inpaint([str(each) for each in given]) == 0
    assert filled.is_file()
    assert lint([str(small), "--accelerator", "webgpu"]) == 0


def zero_block(model: Any) -> None:
    largest = max(model.graph.initializer, key=lambda one: int(np.prod(one.dims)))
    values = numpy_helper.to_array(largest).copy()
    values[: len(values) // 2] = 0
    largest.CopyFrom(numpy_helper.from_array(values, largest.name))


def scaled(model: Any, ending: str, factor: float) -> None:
    """Multiply the first constant of a kind."""
    found = next(one for one in model.graph.initializer if one.name.endswith(ending))
    values = np.float32(factor) * numpy_helper.to_array(found)
    found.CopyFrom(numpy_helper.from_array(np.asarray(values, np.float32), found.name))


def wrong_weights(model: Any) -> None:
    scaled(model, ".weight_scale", 1.5)


def narrow_range(model: Any) -> None:
    scaled(model, "_read_scale", 0.125)


@pytest.mark.conversion
@pytest.mark.parametrize("mutate", [zero_block, wrong_weights, narrow_range])
def test_a_broken_one_is_caught(mutate: Any, small: Path, tmp_path: Path) -> None:
    copy = copied(small, tmp_path)
    model = onnx.load(copy)
    mutate(model)
    onnx.save(model, copy)
    assert parity(["--ignore-hash", str(copy)]) == 3
