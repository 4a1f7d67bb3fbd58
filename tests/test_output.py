"""Results by a user's own names: checked first, whole or not at all."""

import os
from pathlib import Path

import pytest

from rethined_export.errors import UserError
from rethined_export.output import prepare, write_text, written


def test_folders_are_created_and_nothing_is_left_in_them(tmp_path: Path) -> None:
    prepare([tmp_path / "a" / "b" / "table.md", None], [tmp_path / "c" / "d"])
    assert (tmp_path / "a" / "b").is_dir() and (tmp_path / "c" / "d").is_dir()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("place", ["file/table.md", "file/deep/table.md", "/proc/table.md"])
def test_places_that_cannot_be_written(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    for options in ({"files": [tmp_path / place]}, {"folders": [(tmp_path / place).parent]}):
        with pytest.raises(UserError, match="cannot write"):
            prepare(**options)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a directory"):
        prepare([tmp_path])


def test_a_link_that_leads_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.md").symlink_to(tmp_path / "a.md")
    with pytest.raises(UserError, match="Too many levels of symbolic links"):
        prepare([tmp_path / "a.md"])


def test_two_results_by_one_name(tmp_path: Path) -> None:
    (tmp_path / "b.md").symlink_to(tmp_path / "a.md")
    with pytest.raises(UserError, match=r"two results would go to .*b\.md"):
        prepare([tmp_path / "a.md", None, tmp_path / "b.md"])


def test_a_pipe_is_written_into_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    prepare([pipe, pipe])
    write_text(pipe, "table")
    assert os.read(reader, 100) == b"table"
    os.close(reader)
    assert pipe.is_fifo() and len(list(tmp_path.iterdir())) == 1


def test_text_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    write_text(tmp_path / "table.md", "max |Δ|")
    assert (tmp_path / "table.md").read_bytes() == "max |Δ|".encode()


def test_what_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "table.md").write_text("old")
    with pytest.raises(ValueError), written(tmp_path / "table.md") as file:
        file.write(b"half")
        raise ValueError
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]
    assert (tmp_path / "table.md").read_text() == "old"


def test_a_link_stays_a_link_and_permissions_stay(tmp_path: Path) -> None:
    real, link = tmp_path / "real.md", tmp_path / "link.md"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to(real)
    write_text(link, "new")
    assert link.is_symlink() and real.read_text() == "new"
    assert real.stat().st_mode & 0o777 == 0o600
