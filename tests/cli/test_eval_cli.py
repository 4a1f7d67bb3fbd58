"""rethined-eval: a whole report on one photo, with an artifact beside the network."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands import refusal
from PIL import Image

from rethined_export.cli.evaluate import main
from rethined_export.photo.scenes import photo_path

Capture = pytest.CaptureFixture[str]


def test_a_whole_report(tmp_path: Path, onnx_512: Path, capsys: Capture) -> None:
    """The artifact and the network it was made from get the same figures."""
    photos = tmp_path / "photos"
    photos.mkdir()
    with Image.open(photo_path("chelsea")) as image:
        image.save(photos / "cat.png")
    output = tmp_path / "report"
    options = [str(onnx_512), "--images", str(photos), "--output", str(output)]
    assert main([*options, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert "(k = 16)" in document["facts"]["attention"]
    methods = {row["method"] for row in document["rows"]}
    assert {"Telea (OpenCV)", "push–pull fill", "dense softmax", "k = 1", onnx_512.name} <= methods
    for kind in ("thick", "thin"):
        figures = {
            mean["method"]: mean["figures"] for mean in document["means"] if mean["kind"] == kind
        }
        for name, value in figures["k = 1"].items():
            assert value == pytest.approx(figures[onnx_512.name][name], abs=1e-3), name
        psnr = {name: values["psnr_hole"] for name, values in figures.items()}
        assert psnr["coarse model only"] > psnr["push–pull fill"] > psnr["Telea (OpenCV)"]
    assert (output / "quality.md").read_text().count("| Telea") == 2
    html = (output / "quality.html").read_text()
    crops = {path.name for path in (output / "crops").iterdir()}
    assert crops
    assert all(name in html for name in crops)
    with Image.open(output / "quality.png") as plot:
        assert np.asarray(plot.convert("L")).std() > 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--hr", "640"], "--hr 640 is unknown"),
        (["--seed", "-1"], "--seed -1"),
        (["--masks", "x"], "--masks goes with --images"),
        (["--images", "/nowhere"], "/nowhere is not a folder"),
        (["--preset", "mobil"], "did you mean mobile"),
        (["/nowhere/a.onnx"], "does not exist"),
    ],
)
def test_refusals(options: list[str], said: str, tmp_path: Path, capsys: Capture) -> None:
    assert said in refusal(main, [*options, "--output", tmp_path / "report"], capsys)
    assert not (tmp_path / "report").exists()
