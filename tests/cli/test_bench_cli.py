"""rethined-bench on this machine: real runs, exit codes, files for other programs."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from commands import refusal

from rethined_export.cli import bench
from rethined_export.cli.bench import main
from rethined_export.cli.export import main as export
from rethined_export.errors import UserError
from tests.copies import copied
from tests.here import jobs_here

Capture = pytest.CaptureFixture[str]
QUICK = ["--runs", "3", "--warmup", "1"]


def test_a_generous_and_an_impossible_budget(
    onnx_512: Path, tmp_path: Path, capsys: Capture
) -> None:
    xml, table = tmp_path / "bench.xml", tmp_path / "bench.md"
    report = tmp_path / "bench.html"
    options = [str(onnx_512), *QUICK, "--junit", str(xml), "--markdown", str(table)]
    options += ["--report", str(report)]
    assert main([*options, "--budget-ms", "60000", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (result,) = document["results"]
    assert document["schema_version"] == 1
    assert document["device"] == "host"
    assert result["runtime"] == "ONNX Runtime"
    assert result["provenance"] == "host"
    assert result["ms"]["runs"] == 3
    assert 0 < result["ms"]["min"] <= result["ms"]["p50"] <= result["ms"]["max"]
    parts = sum(result["parts_ms"][name]["mean"] for name in ("before", "inference", "after"))
    assert parts == pytest.approx(result["ms"]["mean"])
    assert result["load_ms"] > 0
    assert result["peak_rss_bytes"] > onnx_512.stat().st_size
    assert ElementTree.parse(xml).getroot().get("failures") == "0"

    assert main([*options, "--budget-ms", "0.01", "--stat", "min"]) == 4
    assert "over the budget" in capsys.readouterr().out
    assert ElementTree.parse(xml).getroot().get("failures") == "1"
    assert "over the budget" in table.read_text()
    html = report.read_text()
    for said in ("over the budget", onnx_512.name, "wall times of this machine", "<svg", "not run"):
        assert said in html
    assert not re.search(r"(src|href)=['\"]?(https?:)?//", html)  # nothing is fetched


def test_a_pair_and_a_whole_turn_about(onnx_512: Path, tmp_path: Path, capsys: Capture) -> None:
    options = ["--target", "onnx", "--hr", "1024", "--upscale", "patches", "--split"]
    with jobs_here():
        assert export([*options, "--no-verify", "--output", str(tmp_path)]) == 0
    (low,) = tmp_path.glob("*-low10-*.onnx")
    (choose,) = tmp_path.glob("*-choose10-*.onnx")
    capsys.readouterr()
    assert (
        main([str(low), str(onnx_512), "--runs", "6", "--warmup", "1", "--compare", "--json"]) == 0
    )
    made = json.loads(capsys.readouterr().out)
    assert made["interval_95"][0] <= made["ratio"] <= made["interval_95"][1]
    assert main([str(choose), *QUICK]) == 2
    assert "give the low one" in capsys.readouterr().err


def test_a_damaged_artifact_does_not_stop_the_others(
    onnx_512: Path, tmp_path: Path, capsys: Capture
) -> None:
    broken = copied(onnx_512, tmp_path / "copy")
    broken.write_bytes(broken.read_bytes()[:1000])
    options = [str(broken), str(onnx_512), *QUICK, "--budget-ms", "60000", "--json"]
    assert main(options) == 2
    captured = capsys.readouterr()
    first, second = json.loads(captured.out)["results"]
    assert first["ms"] is None and first["verdict"] == "not known"
    assert second["verdict"] == "meets the budget"
    assert str(broken) in captured.err


def test_lists_devices(capsys: Capture) -> None:
    assert main(["--list-devices"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("host") and line.endswith("yes") for line in lines)
    (phone,) = (line for line in lines if line.startswith("iphone-15"))
    assert "no: Core ML runs on Apple's systems only; run this on a Mac with the iphone" in phone


def test_a_device_out_of_reach(onnx_512: Path, capsys: Capture) -> None:
    assert main([str(onnx_512), "--device", "iphone-15"]) == 6
    said = "Apple iPhone 15 cannot be reached: Core ML runs on Apple's systems only"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--device", "pixel9"], "did you mean pixel"),
        (["--stat", "p9"], "--stat p9 is unknown"),
        (["--runs", "0"], "--runs 0; use 1 or more"),
        (["--threads", "0"], "--threads 0"),
        (["--budget-ms", "nan"], "--budget-ms nan; use a positive number"),
        (["--compare"], "--compare takes two artifacts, not 1"),
    ],
)
def test_refusals(onnx_512: Path, options: list[str], said: str, capsys: Capture) -> None:
    assert said in refusal(main, [onnx_512, *options], capsys)


def test_artifacts_that_are_not_there(tmp_path: Path, capsys: Capture) -> None:
    assert "no artifact given" in refusal(main, [], capsys)
    assert "does not exist" in refusal(main, [tmp_path / "a.onnx"], capsys)
    (tmp_path / "a.ncnn").touch()
    assert "is not an artifact; expected" in refusal(main, [tmp_path / "a.ncnn"], capsys)
    (tmp_path / "a.mlpackage").mkdir()
    assert "runs onnx, tflite" in refusal(main, [tmp_path / "a.mlpackage"], capsys)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--threads", "9999"], "--threads 9999 is too many for"),
        (["--junit", "/proc/bench.xml"], "cannot write /proc/bench.xml"),
        (["--markdown", "/proc/deep/bench.md"], "cannot write /proc/deep/bench.md"),
        (["--report", "/proc/bench.html"], "cannot write /proc/bench.html"),
        (["--calibrate", "/proc/rates.json"], "cannot write /proc/rates.json"),
        (["--junit", "/tmp"], "/tmp is a directory"),
    ],
)
def test_what_cannot_be_is_refused_before_the_work(
    options: list[str], said: str, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "model.onnx").write_text("nothing that runs")
    assert said in refusal(main, [tmp_path / "model.onnx", *options], capsys)


def test_too_few_runs_to_compare(tmp_path: Path, capsys: Capture) -> None:
    options = ["--compare", "--runs", "5", "a.onnx", "b.onnx"]
    assert "--runs 5 are too few for --compare; use 6 or more" in refusal(main, options, capsys)


def test_a_report_that_fails_costs_neither_table_nor_the_other_reports(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(path: Path, text: str) -> None:
        if path.suffix == ".xml":
            raise UserError(f"cannot write {path}: No space left on device")
        path.write_text(text)

    monkeypatch.setattr(bench, "write_text", full_disk)
    (tmp_path / "model.onnx").write_text("nothing that runs")
    options = ["--junit", str(tmp_path / "new" / "x.xml"), "--markdown", str(tmp_path / "x.md")]
    assert main([str(tmp_path / "model.onnx"), *options]) >= 1
    captured = capsys.readouterr()
    assert "model.onnx" in captured.out and "verdict" in captured.out
    assert "No space left on device" in captured.err
    assert "model.onnx" in (tmp_path / "x.md").read_text()
