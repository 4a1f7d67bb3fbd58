"""rethined-inpaint with artifacts that fill hole tokens only."""

from pathlib import Path

import numpy as np
import pytest
from commands import last_line, save_image
from PIL import Image

from rethined_export.cli.export import main as export
from rethined_export.cli.inpaint import main
from rethined_export.photo.files import read_photo
from rethined_export.photo.scenes import photo_path
from tests.copies import copied
from tests.here import jobs_here

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A split pair, a drop-in and a whole program, all of 1024."""
    folder = tmp_path_factory.mktemp("patches")
    common = ["--target", "onnx", "--no-verify", "--output", str(folder)]
    with jobs_here():
        assert export([*common, "--upscale", "patches", "--split"]) == 0
        assert export([*common, "--upscale", "patches"]) == 0
        assert export(common) == 0
    return folder


def artifact(folder: Path, part: str) -> Path:
    return next(folder.glob(f"*-{part}-fp32.onnx"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A little larger than the square, two holes, one at the border."""
    pixels = np.tile(read_photo(photo_path("coffee")).pixels, (3, 2, 1))[:1041, :1103]
    hole = np.zeros(pixels.shape[:2], np.uint8)
    hole[600:660, 800:930] = 255
    hole[-9:, -30:] = 255
    save_image(tmp_path / "mask.png", hole)
    return save_image(tmp_path / "photo.png", pixels)


def filled(photo: Path, file: Path) -> np.ndarray:
    output = photo.with_name("filled.png")
    options = [photo, photo.with_name("mask.png"), "--output", output, "--artifact", file]
    assert main([*map(str, options), "--overwrite"]) == 0
    return np.array(Image.open(output)).astype(int)


@pytest.mark.parametrize("part", ["low10", "patches10"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_fills_what_the_whole_program_fills(
    artifacts: Path, photo: Path, part: str, mode: str
) -> None:
    Image.open(photo).convert(mode).save(photo)
    before = np.array(Image.open(photo)).astype(int)
    whole = filled(photo, artifact(artifacts, "gather"))
    own = filled(photo, artifact(artifacts, part))
    hole = np.array(Image.open(photo.with_name("mask.png"))) > 0
    assert own.shape == before.shape
    assert np.array_equal(own[~hole], before[~hole])
    assert np.abs(own - whole).max() <= 1
    assert not np.array_equal(own[hole], before[hole])


def test_a_photo_smaller_than_the_square_is_padded(artifacts: Path, photo: Path) -> None:
    """Nothing is resampled: the result is that of the caller, whose own tests compare it."""
    before = np.array(Image.open(photo))[:377, :581]
    hole = np.zeros((377, 581), np.uint8)
    hole[100:160, 200:330] = 255
    save_image(photo, before)
    save_image(photo.with_name("mask.png"), hole)
    own = filled(photo, artifact(artifacts, "low10"))
    assert np.array_equal(own[hole == 0], before[hole == 0])
    assert not np.array_equal(own[hole > 0], before[hole > 0])


def refused(photo: Path, file: Path, capsys: Capture) -> str:
    options = [photo, photo.with_name("mask.png"), "--output", photo.with_name("filled.png")]
    assert main([*map(str, options), "--artifact", str(file)]) == 2
    assert not photo.with_name("filled.png").exists()
    return last_line(capsys.readouterr().err)


def test_a_hole_that_is_larger_than_the_square(artifacts: Path, photo: Path) -> None:
    """It is shrunk with the photo: the pair fills much like the whole program, though that sees its
    window alone, and not in 8 bits."""
    pixels = np.tile(np.array(Image.open(photo)), (2, 1, 1))[:1900]
    hole = np.zeros(pixels.shape[:2], np.uint8)
    hole[150:1800, 500:560] = 255
    save_image(photo, pixels)
    save_image(photo.with_name("mask.png"), hole)
    before = pixels.astype(int)
    whole = filled(photo, artifact(artifacts, "gather"))
    own = filled(photo, artifact(artifacts, "low10"))
    assert np.array_equal(own[hole == 0], before[hole == 0])
    apart, hidden = (np.abs(one - whole)[hole > 0].mean() for one in (own, before))
    assert apart < hidden / 3, (apart, hidden)


def test_a_hole_over_the_budget_is_refused(artifacts: Path, photo: Path, capsys: Capture) -> None:
    hole = np.zeros((1041, 1103), np.uint8)
    hole[:500, :500] = 255
    save_image(photo.with_name("mask.png"), hole)
    line = refused(photo, artifact(artifacts, "patches10"), capsys)
    assert "patches more than" in line and "--hole-budget" in line and "--split" in line
    assert filled(photo, artifact(artifacts, "low10")).shape == (1041, 1103, 3)


def test_the_second_program_is_refused(artifacts: Path, photo: Path, capsys: Capture) -> None:
    assert "give the low one" in refused(photo, artifact(artifacts, "choose10"), capsys)


def test_the_second_program_is_missing(
    artifacts: Path, photo: Path, tmp_path: Path, capsys: Capture
) -> None:
    alone = copied(artifact(artifacts, "low10"), tmp_path / "alone")
    line = refused(photo, alone, capsys)
    assert "is not beside it" in line and "-choose10-fp32.onnx" in line


def test_no_whole_patch_to_copy_from(artifacts: Path, photo: Path, capsys: Capture) -> None:
    save_image(photo, np.array(Image.open(photo))[:377, :581])
    hole = np.full((377, 581), 255, np.uint8)
    hole[::16, ::16] = 0
    save_image(photo.with_name("mask.png"), hole)
    assert "no whole patch to copy from" in refused(photo, artifact(artifacts, "low10"), capsys)
