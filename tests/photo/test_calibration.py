"""Photos to measure activations on: always the same, and none that say nothing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rethined_export.errors import UserError
from rethined_export.photo.calibration import DRAWN, Calibration, Fingerprint
from rethined_export.photo.scenes import Scene
from rethined_export.photo.window import Window

WINDOW = Window(48, 64)


def any_hole(_hole: np.ndarray) -> bool:
    return True


def scenes(calibration: Calibration, bears=any_hole) -> list[Scene]:
    return list(calibration.scenes(WINDOW, bears))


def fingerprint(made: list[Scene]) -> str:
    found = Fingerprint()
    for scene in made:
        found.add(scene.inputs)
    return found.facts()["sha256"]


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in range(3):
        save(tmp_path / "photos" / f"{seed}.png", noise(seed))
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    return tmp_path / "photos"


def test_drawn_scenes_are_the_same_each_time_and_differ_among_themselves() -> None:
    first, second = scenes(Calibration()), scenes(Calibration())
    assert len(first) == DRAWN
    assert fingerprint(first) == fingerprint(second)
    assert len({scene.image.numpy().tobytes() for scene in first}) == DRAWN
    for scene in first:
        assert scene.image.shape == (1, 3, *WINDOW)
        assert 0 < scene.cover < 1


def test_photos_of_a_folder_in_the_order_of_their_names(folder: Path) -> None:
    made = scenes(Calibration(str(folder)))
    assert [scene.name for scene in made] == ["0.png", "1.png", "2.png"]


def test_another_photo_or_order_gives_another_fingerprint(folder: Path) -> None:
    made = scenes(Calibration(str(folder)))
    save(folder / "3.png", noise(3))
    prints = {fingerprint(one) for one in (made, made[::-1], scenes(Calibration(str(folder))))}
    assert len(prints) == 3


def test_masks_are_taken_in_turn(folder: Path, tmp_path: Path) -> None:
    for number in range(2):
        hole = np.zeros((60, 80), np.uint8)
        hole[20:40, 10 + 30 * number : 30 + 30 * number] = 255
        save(tmp_path / "masks" / f"{number}.png", hole)
    save(tmp_path / "masks" / "none.png", np.zeros((60, 80), np.uint8))
    first, second, third = scenes(Calibration(str(folder), str(tmp_path / "masks")))
    assert first.mask[0, 0, 24, 16] == 1
    assert second.mask[0, 0, 24, 16] == 0
    assert (first.mask == third.mask).all()


def test_holes_are_those_that_the_artifact_can_fill() -> None:
    made = scenes(Calibration(), lambda hole: bool(hole.mean() < 0.2))
    assert max(scene.cover for scene in made) < 0.2


def refused(calibration: Calibration) -> str:
    with pytest.raises(UserError) as error:
        calibration.check()
    return str(error.value)


def test_what_cannot_be_measured_on_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for number in range(2):
        save(tmp_path / "flat" / f"{number}.png", np.full((9, 9, 3), 40 * number, np.uint8))
    Calibration(str(folder), str(folder)).check()
    assert "holds no picture" in refused(Calibration(str(tmp_path / "empty")))
    assert "is not a folder" in refused(Calibration(str(tmp_path / "missing")))
    assert "of one colour" in refused(Calibration(str(tmp_path / "flat")))
    assert "--calibration-masks" in refused(Calibration(None, str(tmp_path / "empty")))


def test_one_photo_with_something_in_it_is_enough(tmp_path: Path) -> None:
    save(tmp_path / "photos" / "0.png", np.full((9, 9, 3), 7, np.uint8))
    save(tmp_path / "photos" / "1.png", noise(0))
    Calibration(str(tmp_path / "photos")).check()


def test_no_mask_that_can_be_filled(folder: Path, tmp_path: Path) -> None:
    save(tmp_path / "masks" / "0.png", np.full((60, 80), 255, np.uint8))
    with pytest.raises(UserError, match="has a hole that the artifact can fill"):
        scenes(Calibration(str(folder), str(tmp_path / "masks")))


def test_an_artifact_carries_no_places() -> None:
    carried = Calibration("/home/me/photos", "/home/me/masks", "entropy").embedded()
    assert carried == Calibration(None, None, "entropy")
