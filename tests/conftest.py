"""Fixtures that many tests share."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rethined_export.cli.export import main as export
from rethined_export.models.rethined import preset_config, untrained
from rethined_export.models.weights import shipped
from tests.here import jobs_here

#: Fixtures that convert a network; tests that ask for one take minutes, and `make quick` none.
CONVERTING = {
    "onnx_512", "tflite_512", "made", "exported", "exported_top4", "judge", "artifact", "emulated",
    "small_exports", "small_onnx",
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that convert."""
    for item in items:
        if CONVERTING & set(getattr(item, "fixturenames", ())):
            item.add_marker("conversion")


@pytest.fixture(scope="session", autouse=True)
def heed_interrupts() -> Iterator[None]:
    """Ctrl-C works in tests even where what started them ignores it, as a background job does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Converters leave packages in the temporary folder; those of a test run end with it."""
    before, folder = tempfile.tempdir, tempfile.mkdtemp(prefix="rethined-tests-")
    tempfile.tempdir = folder
    yield
    tempfile.tempdir = before
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """What a test draws without a generator of its own is the same in every run, whatever ran."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_phones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests reach no device of the developer's, and start no adb server."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "1")
    monkeypatch.setenv("ADBUTILS_ADB_PATH", "/bin/false")


@pytest.fixture(scope="session")
def onnx_512(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX artifact at 512 with its manifest, alone in a folder; copy to change it."""
    folder = tmp_path_factory.mktemp("onnx_512")
    options = ["--target", "onnx", "--hr", "512", "--no-verify", "--output", str(folder)]
    with jobs_here():
        assert export(options) == 0
    (artifact,) = folder.glob("*.onnx")
    return artifact


@pytest.fixture(scope="session")
def tflite_512(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as TFLite."""
    folder = tmp_path_factory.mktemp("tflite_512")
    options = ["--target", "tflite", "--hr", "512", "--no-verify", "--output", str(folder)]
    with jobs_here():
        assert export(options) == 0
    (artifact,) = folder.glob("*.tflite")
    return artifact


@pytest.fixture(scope="session")
def small_exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small network of ``tests/small_net.py`` in all targets, with manifests."""
    return export_small_net(tmp_path_factory.mktemp("small_exports"))


@pytest.fixture(scope="session")
def small_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in ONNX alone, which takes a third of the time."""
    folder = export_small_net(tmp_path_factory.mktemp("small_onnx"), "--target", "onnx")
    [artifact] = folder.glob("*.onnx")
    return artifact


def export_small_net(folder: Path, *options: str) -> Path:
    """Write its artifacts, not compared, to a folder."""
    module = Path(__file__).with_name("small_net.py")
    inputs = ["--input", "image=1x3x32x32", "--input", "mask=1x1x32x32"]
    where = ["--no-verify", "--output", str(folder)]
    with jobs_here():
        assert export(["--module", f"{module}:build", *inputs, *where, *options]) == 0
    return folder


@pytest.fixture(scope="session")
def shipped_weights() -> Path:
    """The file that artifacts are made from where no checkpoint is given."""
    path = shipped("mobile", "paper")
    assert path is not None
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the mobile preset with every layer the paper has; untrained."""
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(untrained(preset_config("mobile", "paper")).state_dict(), path)
    return path
