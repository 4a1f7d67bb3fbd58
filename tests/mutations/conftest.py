"""Artifacts to break, and the scene they are judged on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rethined_export import spec
from rethined_export.cli import export as export_cli
from rethined_export.photo.scenes import free_form_mask, photo_path
from rethined_export.photo.window import Window
from rethined_export.recipes.rethined import RECIPE
from rethined_export.recipes.rethined.judge import RethinedJudge
from tests.here import jobs_here

SIDE = 1024
#: The checkpoint was never trained, so one key holds little of its attention.
ANY_MASS = ["--least-mass", "0%"]


def remembered(function: Callable[..., Any], place: Callable[..., object]) -> Callable[..., Any]:
    """The function, whose results are kept by what ``place`` makes of its arguments."""
    kept: dict[object, Any] = {}

    def call(*arguments: Any) -> Any:
        key = place(*arguments)
        if key not in kept:
            kept[key] = function(*arguments)
        return kept[key]

    return call


@pytest.fixture(scope="package", autouse=True)
def workers() -> Iterator[None]:
    """Jobs run here, and what torch makes of a scene is computed once for all broken artifacts."""
    with jobs_here(), pytest.MonkeyPatch.context() as patch:
        networks = remembered(
            spec.load_reference, lambda made: (made.model, made.options, made.source)
        )
        judges = remembered(
            type(RECIPE).judge, lambda _recipe, options, reference: (options, id(reference))
        )
        expected = remembered(
            RethinedJudge._expect,
            lambda judge, scene: (id(judge), *(v.tobytes() for v in scene.inputs.values())),
        )
        patch.setattr("rethined_export.export.load_reference", networks)
        patch.setattr(type(RECIPE), "judge", judges)
        patch.setattr(RethinedJudge, "_expect", expected)
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
