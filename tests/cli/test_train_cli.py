"""rethined-train: one line about what it refuses, weights at the end."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rethined_export.cli import train as cli
from rethined_export.cli.train import main

Capture = pytest.CaptureFixture[str]
SETTINGS = '[[stages]]\npart = "coarse"\nside = 32\nbatch = 2\nsteps = 3\nrate = 1e-3\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Settings, and a folder of photos of which one is broken."""
    (tmp_path / "settings.toml").write_text(SETTINGS)
    photos = tmp_path / "photos"
    photos.mkdir()
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        Image.fromarray(random.integers(0, 256, (48, 64, 3), np.uint8)).save(photos / f"{name}.png")
    (photos / "broken.jpg").write_bytes(b"not a picture")
    return tmp_path


def options(folder: Path, *more: str) -> list[str]:
    run = ["--photos", str(folder / "photos"), "--output", str(folder / "run"), "--workers", "0"]
    return [str(folder / "settings.toml"), *run, *more]


def test_trains_on_a_folder_and_names_what_it_skips(folder: Path, capsys: Capture) -> None:
    assert main(options(folder)) == 0
    said = capsys.readouterr()
    assert "step 3/3" in said.out
    assert "weights.safetensors" in said.out
    assert "broken.jpg" in said.err
    assert main(options(folder)) == 2
    assert "--resume" in capsys.readouterr().err
    assert main(options(folder, "--resume")) == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--resume"], "holds no checkpoint.safetensors"),
        (["--workers", "-1"], "--workers -1; use 0 or more"),
        (["--minutes", "0"], "--minutes 0.0; use a positive number"),
        (["--minutes", "nan"], "--minutes nan; use a positive number"),
        (["--photos", "/nowhere"], "/nowhere is not a folder"),
    ],
)
def test_refusals(folder: Path, capsys: Capture, more: list[str], said: str) -> None:
    assert main(options(folder, *more)) == 2
    assert said in capsys.readouterr().err
    assert not (folder / "run").exists()


@pytest.mark.parametrize("place", ["file", "samples", "checkpoint.safetensors", "tensorboard"])
def test_places_that_cannot_be_written_are_found_first(
    place: str, folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "procedural_pool", lambda *_: pytest.fail("worked all the same"))
    (folder / "settings.toml").write_text("procedural = 0.5\nimages = 2\n" + SETTINGS)
    run = folder / "run"
    if place == "file":
        run.touch()
    elif "." in place:
        (run / place).mkdir(parents=True)
    else:
        run.mkdir()
        (run / place).touch()
    more = ["--resume"] if "." in place else []
    assert main(options(folder, *more)) == 2
    said = capsys.readouterr().err
    assert f"cannot write {run}" in said or f"{run / place} is a directory" in said


def test_other_settings_on_resuming(folder: Path, capsys: Capture) -> None:
    assert main(options(folder)) == 0
    (folder / "settings.toml").write_text("seed = 4\n" + SETTINGS)
    assert main(options(folder, "--resume")) == 2
    assert "seed was 0 and is 4" in capsys.readouterr().err


def test_photographs_and_procedural_images_mix(folder: Path, capsys: Capture) -> None:
    mixed = 'images = 2\nprocedural = 0.5\n[[photos]]\nfiles = "a.*"\nweight = 3.0\n'
    (folder / "settings.toml").write_text(mixed + SETTINGS)
    assert main(options(folder)) == 0
    assert "drew 2/2 procedural images" in capsys.readouterr().out
    (folder / "settings.toml").write_text(mixed.replace("a.*", "reef-*") + SETTINGS)
    assert main(options(folder, "--resume")) == 2
    assert "no photograph is called reef-*" in capsys.readouterr().err
