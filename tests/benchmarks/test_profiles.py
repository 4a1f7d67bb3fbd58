"""Device profiles: the shipped ones hold, and a user's own is checked."""

from pathlib import Path

import pytest

from rethined_export.benchmarks.profiles import SHIPPED, load_profiles, read_profile
from rethined_export.errors import UserError

GOOD = """
name = "My board"
kind = "adb"
reached = "adb"
formats = ["tflite"]
soc = "X1"
memory_gb_s = 12.5

[[cores]]
name = "A76"
count = 4
ghz = 2.4

[sources]
soc = "its data sheet"
cores = "its data sheet"
memory_gb_s = "its data sheet"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "board.toml"
    path.write_text(text)
    return path


def test_every_shipped_profile_is_sound() -> None:
    profiles = load_profiles()
    assert set(profiles) == {
        *("host", "arm64-emulator", "chromium", "chromium-webgpu", "raspberry-pi-5"),
        *("pixel7", "pixel8", "galaxy-s24", "mac", "iphone-15", "ipad-pro-m2"),
    }
    assert len(list(SHIPPED.iterdir())) == len(profiles)
    for profile in profiles.values():
        if profile.kind in ("adb", "apple") and profile.id != "mac":
            assert profile.soc and profile.cores and profile.memory_gb_s
            assert profile.model


def test_a_users_profile_joins_them(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    profiles = load_profiles(tmp_path)
    assert profiles["board"].cores[0].ghz == 2.4
    assert "pixel7" in profiles


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('name = "My board"\n', "", "name missing"),
        ('kind = "adb"', 'kind = "usb"', "kind = 'usb'; use one of host"),
        ('["tflite"]', '["tflite", "ncnn"]', "formats has ncnn"),
        ('["tflite"]', '"tflite"', "use a list of texts"),
        ('soc = "X1"', "socket = 1", "unknown socket"),
        ('soc = "its data sheet"\n', "", "soc has no source"),
        ("memory_gb_s = 12.5", "memory_gb_s = -1", "memory_gb_s = -1; use a positive number"),
        ("count = 4", "count = 0", "cores A76: count and ghz must be positive"),
        ("ghz = 2.4", "mhz = 2400", "takes count, ghz, name"),
        ("ghz = 2.4", "ghz = ", "cannot read device profile"),
    ],
)
def test_one_line_about_what_is_wrong(tmp_path: Path, before: str, after: str, said: str) -> None:
    assert before in GOOD
    path = write(tmp_path, GOOD.replace(before, after, 1))
    with pytest.raises(UserError) as refused:
        read_profile(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_folder_without_profiles(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no device profile"):
        load_profiles(tmp_path)
