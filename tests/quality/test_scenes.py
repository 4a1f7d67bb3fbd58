"""Test sets: bundled photos, folders, folders with masks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rethined_export.errors import UserError
from rethined_export.quality.layouts import read_layout
from rethined_export.quality.scenes import PhotoSet, bundled


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for name, shape in (("a", (300, 200)), ("b", (128, 256))):
        noise = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "images" / f"{name}.jpg")
        hole = np.zeros(shape, np.uint8)
        hole[shape[0] // 2 - 20 : shape[0] // 2 + 20, shape[1] // 2 - 10 :] = 255
        Image.fromarray(hole).save(tmp_path / "masks" / f"{name}.png")
    return tmp_path


def test_bundled_photos_under_strokes_and_boxes() -> None:
    first = bundled()
    assert len(first.photos) == 13
    cases = [case for case, _ in zip(first.cases(512, seed=0), range(6), strict=False)]
    assert [case.kind for case in cases] == ["thick", "thin", "boxes"] * 2
    for case in cases:
        assert case.image.shape == (1, 3, 512, 512)
        assert 0.2 <= float(case.mask.mean()) <= 0.45
    again = next(iter(bundled().cases(1024, seed=0)))
    assert torch.equal(again.mask[:, :, ::2, ::2], cases[0].mask)  # one hole at every side
    assert again.enlarged == 2


def test_given_holes(photos: Path) -> None:
    cases = list(PhotoSet(read_layout(photos, None)).cases(512, seed=0))
    assert [(case.photo, case.kind) for case in cases] == [("a", "given"), ("b", "given")]
    assert 0 < float(cases[0].mask.mean()) < 0.2
    Image.fromarray(np.zeros((300, 200), np.uint8)).save(photos / "masks" / "a.png")
    with pytest.raises(UserError, match=r"a\.png has no hole"):
        list(PhotoSet(read_layout(photos, None)).cases(512, seed=0))


def test_study_of_resolutions(photos: Path) -> None:
    """Pixels are taken as they are, and the hole is the middle quarter of the picture."""
    first = next(iter(PhotoSet(read_layout(photos / "images", None)).study(50)))
    with Image.open(photos / "images" / "a.jpg") as photo:
        middle = np.asarray(photo.convert("RGB"))[50:250]
    expected = torch.from_numpy(middle[::4, ::4].astype(np.float32) / np.float32(255))
    assert torch.equal(first.image[0].permute(1, 2, 0), expected)
    hole = first.mask[0, 0]
    assert first.kind == "centre"
    assert hole.sum() == 26 * 26
    assert hole[12:38, 12:38].all()
