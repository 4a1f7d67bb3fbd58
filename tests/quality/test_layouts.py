"""Folders of photos and masks as published sets have them."""

from pathlib import Path

import pytest

from rethined_export.errors import UserError
from rethined_export.quality.layouts import read_layout


def made(folder: Path, *names: str) -> Path:
    """Empty files of these names: layouts are told by names alone."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def names(paths: tuple[Path, ...] | None) -> list[str]:
    return [path.name for path in paths or ()]


def test_photos_of_all_folders_alone(tmp_path: Path) -> None:
    """Places2 has folders in folders, DIV2K and Paris StreetView one."""
    found = read_layout(made(tmp_path, "b/street/2.jpg", "a/1.png", "a/list.txt"), None)
    assert names(found.photos) == ["1.png", "2.jpg"]
    assert found.masks is None
    assert found.matched == ""


def test_images_and_masks(tmp_path: Path) -> None:
    found = read_layout(
        made(tmp_path, "images/1.jpg", "images/2.jpg", "masks/2.png", "masks/1.png"), None
    )
    assert names(found.photos) == ["1.jpg", "2.jpg"]
    assert names(found.masks) == ["1.png", "2.png"]


def test_masks_beside_their_photos(tmp_path: Path) -> None:
    """A photo may have several."""
    made(tmp_path, "a.png", "a_mask000.png", "a_mask001.png", "in/b.png", "in/b_mask.png")
    found = read_layout(tmp_path, None)
    assert names(found.photos) == ["a.png", "a.png", "b.png"]
    assert names(found.masks) == ["a_mask000.png", "a_mask001.png", "b_mask.png"]


def test_a_name_that_ends_in_mask_is_a_photo_where_it_belongs_to_none(tmp_path: Path) -> None:
    found = read_layout(made(tmp_path, "gas_mask.jpg", "tree.jpg"), None)
    assert names(found.photos) == ["gas_mask.jpg", "tree.jpg"]


def test_numbered_masks_in_turn(tmp_path: Path) -> None:
    photos = made(tmp_path / "photos", "x.jpg", "y.jpg", "z.jpg")
    masks = made(tmp_path / "irregular", "00000.png", "00001.png")
    found = read_layout(photos, masks)
    assert names(found.masks) == ["00000.png", "00001.png", "00000.png"]
    assert found.matched == "2 masks in order of their names"


def test_refusals(tmp_path: Path) -> None:
    made(tmp_path, "images/a.jpg", "images/b.jpg", "masks/a.png", "empty/a.txt")
    with pytest.raises(UserError, match=r"no mask for b\.jpg \(1 in all\)"):
        read_layout(tmp_path, None)
    with pytest.raises(UserError, match="holds no picture"):
        read_layout(tmp_path / "empty", None)
    with pytest.raises(UserError, match="not a folder"):
        read_layout(tmp_path / "absent", None)
    made(tmp_path / "lama", "a.png", "a_mask000.png", "b.png")
    with pytest.raises(UserError, match=r"b\.png has no b_mask beside it"):
        read_layout(tmp_path / "lama", None)
