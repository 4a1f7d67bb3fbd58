"""The browser runner: real Chromium and real runtimes, their numbers, and how they fail."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from rethined_export.benchmarks import bench
from rethined_export.benchmarks.bench import Result
from rethined_export.benchmarks.browser import chromium, packages
from rethined_export.benchmarks.browser.server import served
from rethined_export.benchmarks.browser.tab import Tab, opened
from rethined_export.benchmarks.runners import browser
from rethined_export.benchmarks.runners.types import Counted
from rethined_export.benchmarks.sample import Scene, sample
from rethined_export.benchmarks.subjects import paste
from rethined_export.benchmarks.verdict import Verdict
from rethined_export.cli.bench import main
from rethined_export.converters.types import ArtifactError
from rethined_export.errors import ParityError, UnavailableError
from rethined_export.jobs.registry import Job
from tests.cli.commands import gone, refusal, send, start, wait_for, workers
from tests.copies import copied
from tests.tiny_pair import tiny_pair

Capture = pytest.CaptureFixture[str]
QUICK = ["--device", "chromium", "--runs", "2", "--warmup", "0"]


@pytest.fixture(scope="module")
def runtimes(browser_here: str) -> Path:
    """Chromium and its runtimes; CI must be able to fetch them."""
    try:
        return packages.fetch(print)
    except UnavailableError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go; the test must leave none."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield folder
    monkeypatch.setattr("tempfile.tempdir", None)
    assert list(folder.iterdir()) == []


def after_sampling(monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]) -> None:
    """Change something between this machine's own run and the browser's."""
    run_job = browser.run_job

    def changed(job: Job, arguments: dict[str, str], *others: object, **more: float) -> object:
        made = run_job(job, arguments, *others, **more)
        if job is sample:
            change(Path(arguments["folder"]))
        return made

    monkeypatch.setattr(browser, "run_job", changed)


def fake_browser(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = folder / "bin" / "chromium"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def test_both_runtimes_are_timed_and_compared(
    runtimes: Path, onnx_512: Path, tflite_512: Path, scratch: Path, capsys: Capture
) -> None:
    options = [str(onnx_512), str(tflite_512), *QUICK, "--budget-ms", "60000", "--json"]
    assert main(options) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    names = [result["runtime"].split(" in ")[0] for result in results]
    assert names == ["onnxruntime-web 1.30.0", "LiteRT.js 2.5.3"]
    for result in results:
        assert result["provenance"] == "host"
        assert result["ms"]["runs"] == 2
        assert all(result["parts_ms"][name]["min"] > 0 for name in ("before", "inference", "after"))
        assert result["parts_ms"]["inference"]["min"] > result["parts_ms"]["before"]["min"]
        assert result["load_ms"] > 10
        assert result["peak_rss_bytes"] > 100e6
        assert result["difference_from_host"] < 1e-5


def test_wrong_numbers_are_no_times(
    runtimes: Path, onnx_512: Path, scratch: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the browser computes is held against this machine's own run, every value of it."""

    def one_value_off(folder: Path) -> None:
        with np.load(folder / "own.npz") as own:
            output = own["output"].copy()
        output[0, 2, 300, 511] += 1e-3
        np.savez(folder / "own.npz", output=output)

    after_sampling(monkeypatch, one_value_off)
    assert main([str(onnx_512), *QUICK, "--json"]) == 3
    captured = capsys.readouterr()
    assert "its output differs by 1.0e-03 from this machine's own (at most" in captured.err
    (result,) = json.loads(captured.out)["results"]
    assert result["verdict"] == "not known" and result["reason"] == "its output is wrong"


def test_no_number_at_all_is_wrong_too() -> None:
    ran = Counted("ONNX Runtime", 10**9, float("nan"))
    held = bench._held_to_parity(Result(Path("a.onnx"), "host", Verdict("met"), counted=ran))
    assert held.exit_code == 3 and "differs by nan" in held.failure


def test_an_answer_must_be_whole_and_shown() -> None:
    """The 8-bit photo that the page fills, which is what is timed, shows the output it sends."""
    random = np.random.default_rng(0)
    scene = Scene(random.integers(0, 256, (8, 8, 3), np.uint8), random.random((8, 8)) < 0.5)
    output = random.uniform(-0.2, 1.2, (1, 8, 8, 3)).astype(np.float32)
    filled = paste(scene.photo, scene.hole, output[0])
    assert answering(output.tobytes() + filled.tobytes()).difference(scene, output, "tflite") == 0
    left, top = np.argwhere(scene.hole)[0]
    filled[left, top, 1] ^= 1
    with pytest.raises(ParityError, match="does not show"):
        answering(output.tobytes() + filled.tobytes()).difference(scene, output, "tflite")
    with pytest.raises(ArtifactError, match="768 bytes came from the browser, not 960"):
        answering(output.tobytes()).difference(scene, output, "tflite")


def answering(answer: bytes) -> Tab:
    tab = Tab.__new__(Tab)
    tab._ask = lambda _scene: answer  # type: ignore[method-assign]
    return tab


def test_an_artifact_that_only_the_browser_refuses(
    runtimes: Path, onnx_512: Path, scratch: Path, tmp_path: Path, capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    broken = copied(onnx_512, tmp_path / "copy")
    after_sampling(monkeypatch, lambda _folder: broken.write_bytes(broken.read_bytes()[:2000]))
    assert main([str(broken), *QUICK]) == 2
    assert "it does not run in the browser: " in capsys.readouterr().err


def test_a_baseline_of_instructions(
    runtimes: Path, onnx_512: Path, tmp_path: Path, capsys: Capture
) -> None:
    """It would compare nothing, and so must not pass."""
    baseline = tmp_path / "baseline.json"
    baseline.write_text(json.dumps({"results": [{"path": onnx_512.name, "instructions": 5}]}))
    said = refusal(main, [onnx_512, *QUICK, "--baseline", baseline], capsys)
    assert "which only emulated runs have" in said


def test_a_pair_in_a_page(
    runtimes: Path, scratch: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """librethined runs in the page, and what it fills there is held against this machine's."""
    low = tiny_pair(tmp_path)
    assert main([str(low), *QUICK, "--budget-ms", "60000", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["runtime"].endswith(", librethined") and result["ms"]["runs"] == 2
    assert all(result["parts_ms"][name]["min"] > 0 for name in ("before", "inference", "after"))
    assert result["difference_from_host"] <= 1e-5

    def one_value_off(folder: Path) -> None:
        with np.load(folder / "photo" / "own.npz") as own:
            output = own["output"].copy()
        output[700, 300, 1] += 1e-3
        np.savez(folder / "photo" / "own.npz", output=output)

    after_sampling(monkeypatch, one_value_off)
    assert main([str(low), *QUICK]) == 3
    assert "its output differs by 1.0e-03" in capsys.readouterr().err


def test_a_pair_on_webgpu(runtimes: Path, scratch: Path, tmp_path: Path, capsys: Capture) -> None:
    """On the GPU that is there, or on the browser's stand-in."""
    low = tiny_pair(tmp_path)
    options = [str(low), *QUICK, "--device", "chromium-webgpu", "--budget-ms", "60000"]
    assert main([*options, "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert " on WebGPU (" in result["runtime"]
    assert result["difference_from_host"] <= 1e-5


def test_no_webgpu(runtimes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(chromium._GPU, True, "--disable-gpu")
    work = {"target": "onnx", "accelerator": "webgpu", "threads": 1, "shapes": {}}
    lacking = pytest.raises(UnavailableError, match="the browser has no WebGPU adapter")
    with lacking, opened(work, {}, tmp_path):
        pytest.fail("it has one")


def test_half_of_a_pair(runtimes: Path, tmp_path: Path, capsys: Capture) -> None:
    low = tiny_pair(tmp_path)
    (choose,) = tmp_path.glob("*-choose10-*.onnx")
    assert main([str(choose), *QUICK]) == 2
    assert "give the low one" in capsys.readouterr().err
    choose.unlink()
    assert main([str(low), *QUICK]) == 2
    assert "is not beside it" in capsys.readouterr().err


def test_the_page_dies_or_the_command_is_interrupted(
    runtimes: Path, onnx_512: Path, scratch: Path
) -> None:
    """One line, no process and no file is left behind."""
    options = [onnx_512, "--device", "chromium", "--warmup", "0", "--runs", "1000"]
    process = start("bench", *options)
    wait_for(process, "measuring")
    family = workers(process)
    (page,) = heaviest(p for p in family if "--type=renderer" in p.cmdline())
    page.kill()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 6
    assert said.splitlines()[-1].endswith("the browser, or its page, died in the middle")
    assert gone(family)
    assert list(scratch.iterdir()) == []

    process = start("bench", *options)
    wait_for(process, "measuring")
    family = workers(process)
    assert any("--headless" in p.cmdline() for p in family)
    send(process, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("error: interrupted")
    assert gone(family)


def heaviest(processes: Iterator[psutil.Process]) -> list[psutil.Process]:
    """The page's own: the browser keeps more of its kind, which are idle."""
    return sorted(processes, key=lambda p: p.memory_info().rss)[-1:]


def test_a_browser_that_does_not_start(
    runtimes: Path, onnx_512: Path, scratch: Path, tmp_path: Path, capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    fake_browser(tmp_path, monkeypatch, "echo 'no usable sandbox' >&2\nexit 7")
    assert main([str(onnx_512), *QUICK]) == 6
    assert "the browser ended with 7: no usable sandbox" in capsys.readouterr().err


def test_a_browser_that_hangs(
    runtimes: Path, onnx_512: Path, scratch: Path, tmp_path: Path, capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    fake_browser(tmp_path, monkeypatch, f"echo $$ > {tmp_path}/pid\nexec sleep 1000")
    monkeypatch.setattr(browser, "_TIME_LIMIT_S", 6.0)
    assert main([str(onnx_512), *QUICK]) == 1
    assert "stopped after 6 s without finishing" in capsys.readouterr().err
    assert ended(int((tmp_path / "pid").read_text()))


def ended(pid: int) -> bool:
    """Also where nobody has collected it yet."""
    return not psutil.pid_exists(pid) or gone([psutil.Process(pid)])


def test_what_is_missing(
    onnx_512: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_browser(tmp_path, monkeypatch, "exit 1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main([str(onnx_512), *QUICK]) == 6
    assert "its runtimes are not fetched; `make browser` does it" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([str(onnx_512), *QUICK]) == 6
    assert "headless Chromium cannot be reached: Chromium is not ins" in capsys.readouterr().err


def test_fetching_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error code E404' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(UnavailableError, match="npm failed: npm error code E404"):
        packages.fetch(print)
    assert "make browser" in packages.missing()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(UnavailableError, match="npm, which is not installed"):
        packages.fetch(print)


def test_nothing_from_outside_is_fetched(browser_here: str, tmp_path: Path) -> None:
    """A page that asks for another host, by any name at all, is told there is none."""
    page = tmp_path / "page.html"
    page.write_text(
        "<script>fetch('http://localhost:' + location.port + '/here').then(\n"
        "  () => fetch('/failed', { method: 'POST', body: 'it was fetched' }),\n"
        "  (error) => fetch('/failed', { method: 'POST', body: error.message }))</script>"
    )
    with (
        served({"/": page, "/here": b""}) as site,
        chromium.chromium(site.address, tmp_path),
    ):
        assert site.answers.get(timeout=60) == ("failed", b"Failed to fetch")
