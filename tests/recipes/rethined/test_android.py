"""What an Android app compiles and calls, run by the JVM of this machine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rethined_export.recipes.rethined import native
from rethined_export.recipes.rethined.native import Choice, Order, Square
from rethined_export.recipes.rethined.native.compile import FLAGS, SOURCE

ANDROID = SOURCE.parent / "android"
DRIVE = Path(__file__).with_name("android") / "Drive.java"
SIDE, SCALE, BUDGET = 1024, 2, 410


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the compiled classes and the library that they load; CI must have a JDK."""
    javac = shutil.which("javac")
    if javac is None:
        if os.environ.get("CI"):
            raise FileNotFoundError("javac")
        pytest.skip("no JDK on this machine (Debian: apt install default-jdk-headless)")
    folder = tmp_path_factory.mktemp("android")
    java = [javac, "-Xlint:all", "-Werror", "-d", str(folder), str(ANDROID / "Rethined.java")]
    subprocess.run([*java, str(DRIVE)], check=True)
    headers = Path(javac).resolve().parents[1] / "include"
    subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", *FLAGS, "-shared", "-fPIC", f"-I{headers}",
         f"-I{headers / 'linux'}", str(ANDROID / "rethined_jni.c"), str(SOURCE),
         "-o", str(folder / "librethined_jni.so")],
        check=True,
    )  # fmt: skip
    return folder


@pytest.mark.parametrize(("k", "coherence"), [(1, False), (3, True)])
def test_a_photo_filled_from_java(classes: Path, tmp_path: Path, k: int, coherence: bool) -> None:
    """It is that of Python, byte for byte: both call the same library."""
    random = np.random.default_rng(0)
    photo = random.integers(0, 256, (SIDE, SIDE, 4), np.uint8)
    hole = np.zeros((SIDE, SIDE), np.uint8)
    hole[200:700, 90:800] = 1
    photo.tofile(tmp_path / "photo.raw")
    hole.tofile(tmp_path / "hole.raw")
    square = Square(photo, hole, SCALE, order=Order.RGBA)
    image, mask = square.shrink(native.Layout.PIXELS)
    choice = Choice(mask, k)
    composite = random.random((1, 3, 512, 512), dtype=np.float32)
    composite.tofile(tmp_path / "composite.raw")
    choice.compose(composite)
    for run, part in enumerate(native.parts(choice.tokens, BUDGET, coherence)):
        made = {
            "low": random.random((BUDGET, 8, 3, 8), dtype=np.float32),
            "indices": random.integers(0, 4096, (1, BUDGET, k), np.int32),
            "scores": random.random((1, BUDGET, k), dtype=np.float32),
        }
        for name, values in made.items():
            values.tofile(tmp_path / f"{name}{run}.raw")
        choice.keep(made, part)
    square.fill(choice)
    settings = [str(SIDE), str(SCALE), str(k), str(BUDGET), str(coherence).lower()]
    command = ["java", "-Xcheck:jni", f"-Djava.library.path={classes}", "-cp", str(classes)]
    done = subprocess.run(
        [*command, "Drive", str(tmp_path), *settings], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr  # of the JVM's own checks of the C side
    filled = np.fromfile(tmp_path / "filled.raw", np.uint8).reshape(photo.shape)
    assert np.array_equal(filled, photo)
    shrunk = np.fromfile(tmp_path / "image.raw", np.float32)
    assert np.array_equal(shrunk, image.transpose(0, 2, 3, 1).ravel())
