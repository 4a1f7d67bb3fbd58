"""rethined-eval: a whole report on one photo, with an artifact beside the network."""

import errno
import json
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from commands import refusal
from PIL import Image

from rethined_export.cli.evaluate import _several, main
from rethined_export.photo.scenes import free_form_mask, photo_path
from rethined_export.photo.window import Window
from rethined_export.quality import pictures
from rethined_export.quality.layouts import read_layout
from rethined_export.quality.scenes import PhotoSet

Capture = pytest.CaptureFixture[str]


def test_a_whole_report(tmp_path: Path, onnx_512: Path, capsys: Capture) -> None:
    """The artifact and the network it was made from get the same figures."""
    photos, masks = tmp_path / "photos", tmp_path / "masks"
    photos.mkdir()
    masks.mkdir()
    with Image.open(photo_path("chelsea")) as image:
        image.save(photos / "cat.png")
        hole = free_form_mask(Window(image.height, image.width), 0.3, seed=1)
    Image.fromarray(hole.astype(np.uint8) * 255).save(masks / "cat.png")
    output = tmp_path / "report"
    options = [str(onnx_512), "--images", str(photos), "--masks", str(masks)]
    options += ["--output", str(output)]
    assert main([*options, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert "(k = 16)" in document["facts"]["attention"]
    methods = {row["method"] for row in document["rows"]}
    classical = {"Telea (OpenCV)", "PatchMatch (PyPatchMatch)", "push–pull fill"}
    assert {*classical, "dense softmax", "k = 1", onnx_512.name} <= methods
    assert {"flip", "features"} <= document["rows"][0]["figures"].keys()
    figures = {mean["method"]: mean["figures"] for mean in document["means"]}
    for name, value in figures["k = 1"].items():
        assert value == pytest.approx(figures[onnx_512.name][name], abs=1e-3), name
    psnr = {name: values["psnr_hole"] for name, values in figures.items()}
    assert min(psnr["coarse model only"], psnr["push–pull fill"]) > psnr["Telea (OpenCV)"]
    assert (output / "quality.md").read_text().count("| Telea") == 1
    html = (output / "quality.html").read_text()
    crops = {path.name for path in (output / "crops").iterdir()}
    assert crops
    assert all(name in html for name in crops)
    with Image.open(output / "best-median-worst.jpg") as sheet:
        # One hole, which is the best: its name over hole, filled and truth.
        hole, filled, truth = (
            np.asarray(sheet)[18:274, place : place + 256].astype(int) for place in (0, 256, 512)
        )
    assert np.abs(hole - truth).mean() > 2 * np.abs(filled - truth).mean() > 0
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


def test_what_cannot_be_written_costs_nothing_else(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the figures nor the other reports, though the disk fills up during the work."""
    really, output = pictures.written, tmp_path / "report"

    def full(path: Path) -> AbstractContextManager[BinaryIO]:
        if path.name == "quality.md" or path.parent.name == "crops":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really(path)

    monkeypatch.setattr(pictures, "written", full)
    monkeypatch.setattr("rethined_export.output.written", full)
    (tmp_path / "photos").mkdir()
    with Image.open(photo_path("chelsea")) as image:
        image.resize((64, 64)).save(tmp_path / "photos" / "cat.png")
    asked = ["--images", str(tmp_path / "photos"), "--hr", "256", "--output", str(output)]
    assert main([*asked, "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out)["rows"]
    assert [
        line.split(":")[-1] for line in captured.err.splitlines() if "cannot write" in line
    ] == [" No space left on device"] * 2
    written = {path.name for path in output.iterdir()}
    assert written == {"crops", "quality.json", "quality.html", "quality.png"}


def test_places_that_cannot_be_written_are_found_first(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "report" / "quality.png").mkdir(parents=True)
    said = refusal(main, ["--output", tmp_path / "report"], capsys)
    assert "quality.png is a directory" in said


def test_files_of_several_pictures_are_named(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (8, 8)) for _ in range(3)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "plain.png")
    said = list(_several(PhotoSet(read_layout(tmp_path, None))))
    assert said == ["pages.tif holds 3 pictures; the first is taken"]
