"""Calibration: bands from graphs that ran on a device, and files that may not be used."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import refusal
from hypothesis import given
from hypothesis import strategies as st

from rethined_export.benchmarks import calibration as module
from rethined_export.benchmarks.calibration import Calibration, Point, Rates, read_calibration
from rethined_export.benchmarks.estimator import leave_one_out
from rethined_export.benchmarks.profiles import load_profiles
from rethined_export.benchmarks.runners import arm64
from rethined_export.benchmarks.runners.types import Counted
from rethined_export.benchmarks.verdict import band
from rethined_export.cli.bench import main

Capture = pytest.CaptureFixture[str]
POINTS = st.builds(Point, st.just("a"), st.integers(10**6, 10**11), st.floats(0.1, 1e4))


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the emulator: every graph takes two thousand million instructions."""

    def run(_self: Any, _artifact: Path, *_: Any) -> Counted:
        return Counted("runtime", 2 * 10**9, 0.0)

    monkeypatch.setattr(arm64.Arm64Runner, "run", run)
    monkeypatch.setattr(arm64.Arm64Runner, "unreachable", staticmethod(lambda _: ""))


@given(st.lists(POINTS, min_size=3, max_size=12))
def test_a_band_covers_its_graphs(points: list[Point]) -> None:
    rates = Rates("onnx", "1", tuple(points))
    for point in points:
        low, high = rates.band(point.instructions)
        assert low * (1 - 1e-9) <= point.ms <= high * (1 + 1e-9)
        assert low <= rates.likely(point.instructions) * (1 + 1e-9)
        assert rates.likely(point.instructions) <= high * (1 + 1e-9)


def test_a_band_narrows_with_more_graphs_and_holds_four_of_five() -> None:
    random = np.random.default_rng(0)
    widths, held = [], 0
    for count in (3, 4, 6, 30):
        rates = 40 * random.lognormal(0, 0.1, (500, count + 1))
        bands = [
            Rates("onnx", "1", tuple(Point("a", 10**9, ms) for ms in row[1:])).band(10**9)
            for row in rates
        ]
        widths.append(np.median([high / low for low, high in bands]))
        held += sum(low <= row[0] <= high for (low, high), row in zip(bands, rates, strict=True))
    assert widths[0] > widths[1] > widths[2]
    assert 0.78 < held / 2000 < 0.95


def test_a_calibrated_band_is_narrower_than_the_cores() -> None:
    generic = band(10**9, load_profiles()["pixel7"])
    rates = Rates(
        "onnx", "1", (Point("a", 10**9, 150.0), Point("b", 10**9, 180.0), Point("c", 10**9, 190.0))
    )
    assert generic is not None
    calibrated = rates.band(10**9)
    assert calibrated[1] / calibrated[0] < generic[1] / generic[0]


def made(**changes: Any) -> Calibration:
    points = (Point("a.onnx", 10**9, 40.0), Point("b.onnx", 2 * 10**9, 84.0),
              Point("c.onnx", 10**9, 41.0))  # fmt: skip
    told = {
        "device": "pixel7",
        "name": "Google Pixel 7",
        "made": "2026-01-02",
        "ghz": 2.85,
        "core": "cortex-a76",
        "rates": {"onnx": Rates("onnx", release("onnx"), points)},
    }
    return Calibration(**{**told, **changes})


def release(target: str) -> str:
    return module.version(module._PACKAGES[target])


def written(folder: Path, calibration: Calibration) -> Path:
    path = folder / "calibration.json"
    path.write_text(calibration.to_json())
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_calibration(written(tmp_path, made())) == made()


def test_an_estimate_at_a_devices_rates(
    emulated: None, onnx_512: Path, tmp_path: Path, capsys: Capture
) -> None:
    options = ["--calibration", str(written(tmp_path, made())), "--json"]
    for device in ("pixel7", "arm64-emulator"):
        assert main([str(onnx_512), "--device", device, *options]) == 0
        (result,) = json.loads(capsys.readouterr().out)["results"]
        low, high = result["estimate_ms"]
        assert 70 < low <= 80 and 84 <= high < 95
        assert result["verdict"] == "not known" and result["ms"] is None
        assert f"estimate {low:.0f}–{high:.0f} ms" in result["reason"]
        assert "one thread of Google Pixel 7, where 3 graphs in ONNX Runtime" in result["reason"]


def test_calibrating_this_machine(
    emulated: None, onnx_512: Path, tmp_path: Path, capsys: Capture
) -> None:
    again, once_more = (
        Path(shutil.copy(onnx_512, tmp_path / name)) for name in ("again.onnx", "once more.onnx")
    )
    file = tmp_path / "host.json"
    options = ["--calibrate", str(file), "--runs", "2", "--warmup", "1"]
    assert main([str(onnx_512), str(again), str(once_more), *options]) == 0
    assert "again.onnx" in capsys.readouterr().out
    calibration = read_calibration(file)
    assert calibration.device == "host" and calibration.core == "cortex-a76"
    low, high = calibration.band("onnx", 2 * 10**9)
    assert all(low <= point.ms <= high for point in calibration.rates["onnx"].points)

    assert main([str(again), "--device", "arm64-emulator", "--calibration", str(file)]) == 0
    assert "estimate" in capsys.readouterr().out


def test_calibrations_of_something_else(
    emulated: None, onnx_512: Path, tmp_path: Path, capsys: Capture
) -> None:
    for changes, said in (
        ({"device": "pixel8"}, "is of pixel8, not of pixel7; calibrate that"),
        ({"rates": {}}, "has no rates of ONNX Runtime"),
        ({"rates": {"onnx": Rates("onnx", "0.1", made().rates["onnx"].points)}},
         f"is of ONNX Runtime 0.1, and {release('onnx')} is installed"),
    ):  # fmt: skip
        file = written(tmp_path, made(**changes))
        assert said in refusal(
            main, [onnx_512, "--device", "pixel7", "--calibration", file], capsys
        )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a file that --calibrate writes, or damaged"),
        ("[]", "is not a file that --calibrate writes, or damaged"),
        ('{"schema": 9}', "is of another schema than 1"),
        ('{"schema": 1, "rates": {}}', "is not a file that --calibrate writes"),
        (made().to_json()[:300], "is not a file that --calibrate writes, or damaged"),
        (made().to_json().replace("40.0", "-1"), "or damaged"),
        (made().to_json().replace("40.0", "NaN"), "or damaged"),
        (made().to_json().replace("2000000000", "0"), "or damaged"),
        (made().to_json().replace('"ghz"', '"mhz"'), "or damaged"),
    ],
)
def test_damaged_files(
    emulated: None, onnx_512: Path, tmp_path: Path, capsys: Capture, text: str, said: str
) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(text)
    options = ["--device", "pixel7", "--calibration", str(file)]
    assert said in refusal(main, [onnx_512, *options], capsys)
    file.unlink()
    assert "cannot read calibration" in refusal(main, [onnx_512, *options], capsys)


def test_what_cannot_be_calibrated(
    emulated: None, onnx_512: Path, tmp_path: Path, capsys: Capture
) -> None:
    file = str(tmp_path / "a.json")
    pair = [onnx_512, onnx_512]
    emulator = [*pair, "--device", "pixel7", "--calibrate", file]
    assert "needs wall times; pixel7 is emulated here" in refusal(main, emulator, capsys)
    assert "got 2 for ONNX Runtime; give 3" in refusal(main, [*pair, "--calibrate", file], capsys)
    assert "--calibration narrows an estimate; host is measured" in refusal(
        main, [onnx_512, "--calibration", file], capsys
    )


def test_calibrating_without_the_emulator(
    onnx_512: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main([*[str(onnx_512)] * 3, "--calibrate", str(tmp_path / "a.json")]) == 6
    assert "make emulator" in capsys.readouterr().err


def test_leaving_one_out() -> None:
    """Graphs at one rate predict each other; one that is slower is missed, and said to be."""
    points = [Point(str(n), n * 10**8, 5.0 * n) for n in range(1, 6)]
    assert all(p.ratio == pytest.approx(1) for p in leave_one_out("onnx", points))
    *_, slow = leave_one_out("onnx", [*points, Point("slow", 10**9, 100.0)])
    assert slow.ratio == pytest.approx(0.5) and not slow.covered
