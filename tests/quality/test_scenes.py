"""Test sets: bundled photos, folders, folders with masks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rethined_export.errors import UserError
from rethined_export.quality.scenes import bundled, folder


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


def test_bundled_photos_under_thick_and_thin_holes() -> None:
    first = bundled()
    assert len(first.photos) == 13
    cases = [case for case, _ in zip(first.cases(512, seed=0), range(4), strict=False)]
    assert [case.kind for case in cases] == ["thick", "thin"] * 2
    for case in cases:
        assert case.image.shape == (1, 3, 512, 512)
        assert 0.2 <= float(case.mask.mean()) <= 0.45
    again = next(iter(bundled().cases(1024, seed=0)))
    assert torch.equal(again.mask[:, :, ::2, ::2], cases[0].mask)  # one hole at every side
    assert again.enlarged == 2


def test_layout_with_masks(photos: Path) -> None:
    cases = list(folder(photos, None).cases(512, seed=0))
    assert [(case.photo, case.kind) for case in cases] == [("a", "given"), ("b", "given")]
    named = list(folder(photos / "images", photos / "masks").cases(512, seed=0))
    assert torch.equal(named[1].mask, cases[1].mask)
    generated = list(folder(photos / "images", None).cases(512, seed=0))
    assert len(generated) == 4


def test_refusals(photos: Path, tmp_path: Path) -> None:
    (photos / "masks" / "b.png").unlink()
    with pytest.raises(UserError, match=r"no mask for b\.jpg \(1 in all\)"):
        folder(photos, None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no picture"):
        folder(tmp_path / "empty", None)
    with pytest.raises(UserError, match="not a folder"):
        folder(tmp_path / "absent", None)
    Image.fromarray(np.zeros((300, 200), np.uint8)).save(photos / "masks" / "a.png")
    Image.fromarray(np.zeros((128, 256), np.uint8)).save(photos / "masks" / "b.png")
    with pytest.raises(UserError, match=r"a\.png has no hole"):
        list(folder(photos, None).cases(512, seed=0))
