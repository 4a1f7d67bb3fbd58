"""Artifacts to break, and the scene they are judged on."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rethined_export.cli import export as export_cli
from rethined_export.photo.scenes import free_form_mask, photo_path
from rethined_export.photo.window import Window
from tests.here import jobs_here

SIDE = 1024
#: The checkpoint was never trained, so one key holds little of its attention.
ANY_MASS = ["--least-mass", "0%"]


@pytest.fixture(scope="package", autouse=True)
def workers() -> Iterator[None]:
    with jobs_here():
        yield


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    """All three artifacts at 1024, k = 1, not compared yet."""
    folder = tmp_path_factory.mktemp("exported")
    options = ["--hr", str(SIDE), "--output", str(folder), "--no-verify", *ANY_MASS]
    options += ["--checkpoint", str(weights)]
    assert export_cli.main(options) == 0
    return folder


@pytest.fixture(scope="session")
def exported_top4(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    """An ONNX artifact that mixes four patches a token."""
    folder = tmp_path_factory.mktemp("top4")
    options = ["--target", "onnx", "--top-k", "4", "--hr", str(SIDE), "--output", str(folder)]
    options += ["--no-verify", *ANY_MASS, "--checkpoint", str(weights)]
    assert export_cli.main(options) == 0
    return folder


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A photo, and a mask with free-form strokes that also touches a border and a corner."""
    mask = free_form_mask(Window.square(SIDE), 0.2, seed=7)
    mask[:90, :200] = True
    mask[300:420, -60:] = True
    path = tmp_path_factory.mktemp("scene") / "mask.png"
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    photo = path.with_name("photo.png")
    with Image.open(photo_path("coffee")) as image:
        edge = min(image.size)
        image.crop((0, 0, edge, edge)).resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(photo)
    return photo, path


@pytest.fixture
def judge(scene: tuple[Path, Path]) -> Callable[[Path], int]:
    """Exit code of ``rethined-parity --ignore-hash`` on a file."""
    from rethined_export.cli import parity as parity_cli

    def exit_code(artifact: Path) -> int:
        image, mask = scene
        options = ["--ignore-hash", "--image", str(image), "--mask", str(mask)]
        return parity_cli.main([*options, str(artifact)])

    return exit_code
