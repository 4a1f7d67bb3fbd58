"""Broken artifacts of guest models are caught by the numbers.

By default with networks a few channels wide; the slow ones are whole, by ``rethined-parity``.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from rethined_export.cli.export import main as export
from rethined_export.photo.scenes import free_form_mask, photo_path
from rethined_export.photo.window import Window
from tests.copies import copied
from tests.guests import GUESTS, Artifacts, Guest, narrow_deepfill
from tests.mutations import (
    aot_gan,
    context_encoder,
    deepfill,
    dfnet,
    hifill,
    migan,
    partial_conv,
    pmrf,
    repaint,
    twostage,
)
from tests.mutations.test_onnx import Mutation
from tests.wanted import assert_wanted

MUTATIONS: dict[str, list[Mutation]] = {
    "aot-gan": aot_gan.MUTATIONS,
    "context-encoder": context_encoder.MUTATIONS,
    "deepfill v2-nipponjo": deepfill.MUTATIONS,
    "deepfill v2-mmagic": deepfill.MUTATIONS_OF_MMAGICS,
    "dfnet": dfnet.MUTATIONS,
    "hifill": hifill.MUTATIONS,
    "migan": migan.MUTATIONS,
    "partial-conv": partial_conv.MUTATIONS,
    "repaint": repaint.MUTATIONS,
    "pmrf": pmrf.MUTATIONS,
    "two-stage": twostage.MUTATIONS,
}
NARROW: dict[str, Callable[[], Guest]] = {
    **{name: GUESTS[name] for name in MUTATIONS if name in GUESTS},
    "deepfill v2-nipponjo": partial(narrow_deepfill, "v2-nipponjo", "96x96"),
    "deepfill v2-mmagic": partial(narrow_deepfill, "v2-mmagic", "96x96"),
}
#: How whole networks are exported.
WHOLE = {
    "aot-gan": "--model aot-gan --size 96x64",
    "context-encoder": "--model context-encoder",
    "deepfill v2-nipponjo": "--model deepfill --preset v2-nipponjo --size 96",
    "deepfill v2-mmagic": "--model deepfill --preset v2-mmagic --size 96",
    "dfnet": "--model dfnet --preset celeba",
    "hifill": "--model hifill --size 1024",
    "migan": "--model migan",
    "partial-conv": "--model partial-conv --size 128",
    "repaint": "--model repaint --preset tiny",
    "pmrf": "--model pmrf --size 64x48",
    "two-stage": "--model two-stage --size 256x256",
}
EVERY_MUTATION = [(name, mutation) for name, those in MUTATIONS.items() for mutation in those]

every_guest = pytest.mark.parametrize("name", MUTATIONS)
every_mutation = pytest.mark.parametrize(("name", "mutation"), EVERY_MUTATION)


class Made(dict[str, tuple[Guest, Path]]):
    """Narrow guests and their artifacts, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, name: str) -> tuple[Guest, Path]:
        folder = self._folder / name.replace(" ", "-")
        folder.mkdir()
        guest = NARROW[name]()
        self[name] = guest, guest.write("onnx", folder)["whole"]
        return self[name]


class Exported(dict[str, Path]):
    """Whole artifacts with their manifests, not compared yet, made when first asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, name: str) -> Path:
        folder = self._folder / name.replace(" ", "-")
        options = [*WHOLE[name].split(), "--untrained", "--target", "onnx", "--no-verify"]
        assert export([*options, "--output", str(folder)]) == 0
        [self[name]] = folder.glob("*.onnx")
        return self[name]


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("narrow"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A photo, and strokes within its middle: a context encoder takes no others."""
    folder = tmp_path_factory.mktemp("scene")
    with Image.open(photo_path("coffee")) as image:
        image.crop((0, 0, 400, 400)).save(folder / "photo.png")
    hole = np.zeros((400, 400), np.uint8)
    hole[100:300, 100:300] = 255 * free_form_mask(Window.square(200), 0.5, seed=7)
    Image.fromarray(hole).save(folder / "mask.png")
    return folder / "photo.png", folder / "mask.png"


def mutate(artifact: Path, mutation: Mutation) -> None:
    model = onnx.load(artifact)
    mutation(model)
    onnx.save(model, artifact)


@pytest.mark.conversion
@every_guest
def test_the_artifact_itself_passes(name: str, narrow: Made) -> None:
    guest, artifact = narrow[name]
    assert not guest.failures({"whole": artifact}, scenes=2)
    assert_wanted("onnx", artifact)


@pytest.mark.conversion
@every_mutation
def test_mutation_is_caught(name: str, mutation: Mutation, narrow: Made, tmp_path: Path) -> None:
    guest, artifact = narrow[name]
    broken = tmp_path / artifact.name
    broken.write_bytes(artifact.read_bytes())
    mutate(broken, mutation)
    artifacts: Artifacts = {"whole": broken}
    assert guest.failures(artifacts)


@pytest.mark.slow
@every_guest
def test_the_whole_artifact_itself_passes(
    name: str, whole: Exported, judge: Callable[[Path], int]
) -> None:
    assert judge(whole[name]) == 0


@pytest.mark.slow
@every_mutation
def test_mutation_of_a_whole_artifact_is_caught(
    name: str, mutation: Mutation, whole: Exported, tmp_path: Path, judge: Callable[[Path], int]
) -> None:
    artifact = copied(whole[name], tmp_path / "copy")
    mutate(artifact, mutation)
    assert judge(artifact) == 3
