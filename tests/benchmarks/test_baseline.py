"""The regression gate on instruction counts."""

import json
from pathlib import Path
from typing import Any

import pytest

from rethined_export.benchmarks.runners import arm64
from rethined_export.benchmarks.runners.types import Counted
from rethined_export.cli.bench import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """In place of the emulator: the counts in this table, by file name."""
    counts: dict[str, int] = {}

    def run(_self: Any, artifact: Path, *_: Any) -> Counted:
        return Counted("runtime", counts[artifact.name], 0.0)

    monkeypatch.setattr(arm64.Arm64Runner, "run", run)
    monkeypatch.setattr(arm64.Arm64Runner, "unreachable", staticmethod(lambda _: ""))
    return counts


def bench(artifact: Path, *more: str) -> int:
    return main([str(artifact), "--device", "arm64-emulator", *more])


def test_growth_within_and_beyond_what_is_allowed(
    onnx_512: Path, emulated: dict[str, int], tmp_path: Path, capsys: Capture
) -> None:
    emulated[onnx_512.name] = 1_000_000
    assert bench(onnx_512, "--json") == 0
    baseline = tmp_path / "baseline.json"
    baseline.write_text(capsys.readouterr().out)
    for count, allowed, code in ((1_004_000, "0.5%", 0), (1_006_000, "0.5%", 4),
                                 (1_006_000, "5%", 0), (900_000, "0%", 0)):  # fmt: skip
        emulated[onnx_512.name] = count
        options = ["--baseline", str(baseline), "--max-regression", allowed]
        assert bench(onnx_512, *options) == code, count
    capsys.readouterr()
    emulated[onnx_512.name] = 1_020_000
    assert bench(onnx_512, "--baseline", str(baseline)) == 4
    assert "+2.00% instructions (at most +0.50%)" in capsys.readouterr().err


def test_baselines_that_say_nothing(
    onnx_512: Path, emulated: dict[str, int], tmp_path: Path, capsys: Capture
) -> None:
    emulated[onnx_512.name] = 1000
    other = tmp_path / "other.json"
    other.write_text(
        json.dumps({"schema_version": 1, "results": [{"path": "other.onnx", "instructions": 5}]})
    )
    assert bench(onnx_512, "--baseline", str(other)) == 4
    assert "the baseline has no count of it" in capsys.readouterr().err
    for text, said in (
        ("{}", "is not what rethined-bench --json prints"),
        ("no json", "is not what rethined-bench --json prints"),
        (
            '{"schema_version": 1, "results": [{"path": "a", "instructions": null}]}',
            "holds no instruction count",
        ),
        ('{"schema_version": 0, "results": []}', "is not of schema 1; make it again"),
    ):
        other.write_text(text)
        assert bench(onnx_512, "--baseline", str(other)) == 2
        assert said in capsys.readouterr().err
    assert bench(onnx_512, "--baseline", str(tmp_path / "absent.json")) == 2
    assert main([str(onnx_512), "--baseline", str(other)]) == 2
    assert bench(onnx_512, "--max-regression", "much") == 2
    assert "--max-regression much; use a share such as 5%" in capsys.readouterr().err
