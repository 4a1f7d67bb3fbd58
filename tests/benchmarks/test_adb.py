"""rethined-bench on a device behind a real adbd: figures, numbers, faults, and nothing left."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import adbutils
import numpy as np
import onnx
import pytest
import torch
from adbd import SERIAL, Phone, phone
from onnx import TensorProto, helper

from rethined_export.benchmarks import timing
from rethined_export.benchmarks.adb import client, job, tools
from rethined_export.benchmarks.adb.client import Done
from rethined_export.benchmarks.adb.lease import leased
from rethined_export.benchmarks.arm64.system import build
from rethined_export.benchmarks.runners import adb
from rethined_export.benchmarks.runners.types import Spread
from rethined_export.benchmarks.sample import difference
from rethined_export.benchmarks.verdict import judge_inference
from rethined_export.cli.bench import main
from rethined_export.converters.types import run_program
from rethined_export.errors import UnavailableError
from rethined_export.jobs.parent import JobError
from rethined_export.photo.window import Window
from rethined_export.recipes.rethined import device
from rethined_export.spec import default_spec
from tests.tiny_pair import tiny_pair

Capture = pytest.CaptureFixture[str]
#: A name that would do things in a shell that got it unquoted.
_ODD = "a b'\"; touch harm; $(touch harm) `touch harm`.onnx"
_STATS = "count=50 first=9300 curr=9100 min=9000 max=15000 avg=9500 std=400"
_SUMMARY = "Inference timings in us: Init: 20283, First inference: 33930, Warmup (avg): 9900"
#: What the artifacts here compute, from the raw inputs that ``benchmark_model`` is given.
_COMPUTE = """python3 -c "
import numpy as np
image = np.fromfile('image.bin', np.float32).reshape(512, 512, 3)
mask = np.fromfile('mask.bin', np.float32).reshape(512, 512, 1)
(image - image * mask / 2).tofile('outputs.bin')" """


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phone]:
    """A device; CI must be able to have one."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ANDROID_ADB_SERVER_PORT", "ADBUTILS_ADB_PATH"):
            patch.delenv(name, raising=False)
        try:
            with phone(tmp_path_factory.mktemp("programs"), build(print)) as device:
                yield device
        except UnavailableError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))


@pytest.fixture
def pixel(booted: Phone, monkeypatch: pytest.MonkeyPatch) -> Iterator[Phone]:
    """It as a phone, attached; and whatever happened, nothing is on it afterwards."""
    monkeypatch.delenv("ANDROID_ADB_SERVER_PORT")
    booted.program("getprop", 'echo "Pixel 7"')
    booted.attach()
    yield booted
    booted.attach()
    with leased("Pixel 7"):
        pass
    assert booted.clean()


@pytest.fixture(scope="module")
def tiny_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact that halves the image in the hole."""
    image, mask = [1, 3, 512, 512], [1, 1, 512, 512]
    half = helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5])
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["image", "mask"], ["inside"]),
            helper.make_node("Mul", ["inside", "half"], ["cut"]),
            helper.make_node("Sub", ["image", "cut"], ["output"]),
        ],
        "tiny",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, image),
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, mask),
        ],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, image)],
        [half],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    helper.set_model_props(model, {"rethined.spec": _spec("onnx")})
    path = tmp_path_factory.mktemp("tiny") / _ODD
    onnx.save(model, path)
    return path


def _spec(target: str) -> str:
    """What an artifact says of itself."""
    return json.dumps(default_spec(Window.square(512), target).to_dict())


@pytest.fixture(scope="module")
def tiny_tflite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for LiteRT."""
    from rethined_export.converters.tflite import convert

    class Halve(torch.nn.Module):
        def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return image - image * mask / 2

    inputs = {"image": torch.rand(1, 3, 512, 512), "mask": torch.ones(1, 1, 512, 512)}
    spec = {"rethined.spec": _spec("tflite")}
    path = tmp_path_factory.mktemp("tiny") / "a b.tflite"
    images = ("image", "mask", "output")
    program = run_program(Halve().eval(), inputs, ("output",), images)
    convert(replace(program, metadata=spec), path)
    return path


@pytest.fixture
def tool(tmp_path: Path) -> Callable[[str, str], list[str]]:
    """Options with a stand-in for the tool that a user supplies, from what it does."""

    def made(name: str, text: str) -> list[str]:
        path = tmp_path / f"my {name}; $(touch harm)"
        path.write_text(f"#!/bin/sh\n{text}\n")
        return ["--device", "pixel7", "--tool", str(path), "--json"]

    return made


def result_of(capsys: Capture) -> dict:
    (result,) = json.loads(capsys.readouterr().out)["results"]
    return result


def test_a_board_times_whole_fills_and_its_numbers_are_right(
    pixel: Phone, tiny_onnx: Path, tiny_tflite: Path, tmp_path: Path, capsys: Capture
) -> None:
    pixel.program("getprop", 'echo "Raspberry Pi 5 Model B Rev 1.0"')
    page, table = tmp_path / "bench.html", tmp_path / "bench.md"
    options = ["--device", "raspberry-pi-5", "--runs", "2", "--warmup", "0", "--report", str(page)]
    options += ["--budget-ms", "60000", "--markdown", str(table), "--json"]
    assert main([str(tiny_onnx), str(tiny_tflite), *options]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    for result, runtime in zip(results, ("ONNX Runtime 1.", "LiteRT 2."), strict=True):
        assert result["provenance"] == "on-device"
        assert result["verdict"] == "meets the budget"
        assert result["runtime"].startswith(runtime)
        assert result["ms"]["runs"] == 2
        parts = sum(result["parts_ms"][name]["mean"] for name in ("before", "inference", "after"))
        assert parts == pytest.approx(result["ms"]["mean"])
        assert result["difference_from_host"] <= 1e-6
    assert "wall times of the device" in page.read_text()
    assert "on-device" in table.read_text()
    assert not list(pixel.storage().rglob("harm"))
    pixel.program("getprop", 'echo "Pixel 7"')


def test_a_pair_on_a_board(
    pixel: Phone, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its programs by the board's Python, the rest by a program that needs nothing there."""
    pixel.program("getprop", 'echo "Raspberry Pi 5 Model B Rev 1.0"')
    options = ["--device", "raspberry-pi-5", "--runs", "3", "--warmup", "0", "--json"]
    low = tiny_pair(tmp_path)
    assert main([str(low), *options, "--budget-ms", "60000"]) == 0
    result = result_of(capsys)
    assert result["provenance"] == "on-device" and result["verdict"] == "meets the budget"
    assert "one after the other" in result["reason"]
    assert result["runtime"].endswith(", librethined")
    assert result["ms"]["runs"] == 3 and result["parts_ms"]["before"]["min"] > 0
    assert result["difference_from_host"] <= 1e-5
    timers = {machine: path for machine, path in device.timers().items() if machine != "x86_64"}
    monkeypatch.setattr(device, "timers", lambda: timers)
    pixel.program("uname", "echo riscv64")
    assert main([str(low), *options]) == 6
    assert "is riscv64; pairs are timed on aarch64" in capsys.readouterr().err
    (pixel.programs / "uname").unlink()
    pixel.program("getprop", 'echo "Pixel 7"')


def test_a_pair_on_a_phone(
    pixel: Phone, tmp_path: Path, tool: Callable[[str, str], list[str]], capsys: Capture
) -> None:
    """Without Python there: the user's tool times the programs."""
    text = """for word; do file=$word; done
for run in 0 1 2; do echo "a,b,0.01$run,123456789,99,$run" >> "$file"; done
echo "Session creation time cost: 0.25 s" """
    options = tool("onnxruntime_perf_test", text)
    assert main([str(tiny_pair(tmp_path)), *options, "--runs", "3", "--budget-ms", "60000"]) == 0
    result = result_of(capsys)
    assert result["parts_ms"]["inference"]["p50"] == pytest.approx(22)  # of both, 11 each
    assert result["ms"]["p50"] > 22 and result["load_ms"] == 500
    assert result["difference_from_host"] <= 1e-5


def test_a_device_that_goes_between_two_measurements(
    pixel: Phone, tmp_path: Path, tool: Callable[[str, str], list[str]], capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """No fill is put together from what was measured before."""
    run_timer = adb.AdbRunner._run_timer

    def unplugged(self: adb.AdbRunner, *arguments: Any) -> str:
        adbutils.AdbClient().disconnect(SERIAL)
        return run_timer(self, *arguments)

    monkeypatch.setattr(adb.AdbRunner, "_run_timer", unplugged)
    text = """for word; do file=$word; done
echo "a,b,0.01,123456789,99,0" >> "$file" """
    assert main([str(tiny_pair(tmp_path)), *tool("onnxruntime_perf_test", text)]) == 6
    captured = capsys.readouterr()
    assert f"{SERIAL} stopped answering" in captured.err and '"ms": {' not in captured.out


def test_wrong_numbers_on_a_device_fail(pixel: Phone, tiny_onnx: Path, capsys: Capture) -> None:
    """NaN is within no distance, however the comparison is written."""
    ours = (pixel.programs / "python3").read_text().removeprefix("#!/bin/sh\n")
    broken = "made = dict(np.load('outputs.npz')); made['output'][0, 0, 300, 300] = np.nan"
    pixel.program("python-of-its-own", ours)
    pixel.program(
        "python3",
        '[ "$1" = -c ] && exit\npython-of-its-own "$@" &&\n'
        f"python-of-its-own -c \"import numpy as np; {broken}; np.savez('outputs.npz', **made)\"",
    )
    try:
        options = ["--device", "pixel7", "--runs", "1", "--warmup", "0", "--budget-ms", "60000"]
        assert main([str(tiny_onnx), *options]) == 3
    finally:
        pixel.program("python3", ours)
    said = capsys.readouterr()
    assert "meets the budget" not in said.out
    assert "on the device its output differs by nan" in said.err


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (np.full((1, 3, 4, 4), 0.5), None),
        (np.full((1, 1, 4, 4), 0.25), r"\(1, 1, 4, 4\), this machine's is \(1, 3, 4, 4\)"),
        (np.array([None]), "cannot be read"),
    ],
)
def test_outputs_side_by_side(tmp_path: Path, output: np.ndarray, said: str | None) -> None:
    np.savez(tmp_path / "own.npz", output=np.full((1, 3, 4, 4), 0.25))
    np.savez(tmp_path / "outputs.npz", output=output)
    if said is None:
        assert difference(tmp_path) == 0.25
        return
    with pytest.raises(JobError, match=said):
        difference(tmp_path)


def test_benchmark_model_on_a_phone(
    pixel: Phone, tiny_tflite: Path, tool: Callable[[str, str], list[str]], capsys: Capture
) -> None:
    pixel.program(
        "dumpsys",
        '[ "$1" = battery ] && echo "  temperature: 315" || echo "Thermal Status: 2"',
    )
    text = f"{_COMPUTE}\necho count=10 curr=9000 >&2\necho '{_STATS}' >&2\necho '{_SUMMARY}' >&2"
    assert main([str(tiny_tflite), *tool("benchmark_model", text)]) == 0
    (pixel.programs / "dumpsys").unlink()
    result = result_of(capsys)
    assert result["ms"] is None and result["parts_ms"]["inference"]["mean"] == 9.5
    assert (result["load_ms"], result["first_ms"]) == (20.283, 33.93)
    assert result["warm_up_runs"] == 10
    assert result["difference_from_host"] <= 1e-6
    assert result["verdict"] == "meets the budget"
    assert "between 9.0 and 15.0 ms" in result["reason"]  # a p90 is not to be had from it
    assert "inference alone" in result["reason"] and "throttled" in result["reason"]
    assert result["device_state"]["after"]["battery_celsius"] == 31.5
    assert result["device_state"]["after"]["thermal_status"] == 2


def test_perf_test_on_a_phone(
    pixel: Phone, tiny_onnx: Path, tool: Callable[[str, str], list[str]], capsys: Capture
) -> None:
    text = """for word; do file=$word; done
for run in 0 1 2 3 4 5 6 7 8 9; do echo "a,b,0.03$run,123456789,99,$run" >> "$file"; done
echo "Session creation time cost: 0.25 s"
echo "First inference time cost: 41 ms" """
    assert main([str(tiny_onnx), str(tiny_onnx), *tool("onnxruntime_perf_test", text)]) == 4
    for result in json.loads(capsys.readouterr().out)["results"]:
        assert result["parts_ms"]["inference"]["runs"] == 10  # the tool adds to a file that exists
        assert result["parts_ms"]["inference"]["p50"] == pytest.approx(34.5)
        assert (result["load_ms"], result["first_ms"]) == (250, 41)
        assert result["peak_rss_bytes"] == 123456789
        assert result["difference_from_host"] is None
        assert result["verdict"] == "over the budget"
        assert "no outputs out to compare" in result["reason"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo count=x; head -c 300 /dev/urandom", "gave no times that make sense"),
        ("echo 'count=9 curr=0(all same)'", "gave no times that make sense"),
        ("kill -SEGV $$", "crashed (SIGSEGV)"),
        ("echo 'no such operator' >&2; exit 3", "ended with 3; it last printed: no such operator"),
        ("sleep 77777", "after 2 s without finishing"),
        (f"echo '{_STATS}'; head -c 99 /dev/zero > outputs.bin", "wrote 99 bytes of outputs"),
    ],
    ids=["garbage", "no time", "crash", "failure", "hang", "short output"],
)
def test_a_runtime_that_goes_wrong(
    pixel: Phone, tiny_tflite: Path, tool: Callable[[str, str], list[str]], capsys: Capture,
    monkeypatch: pytest.MonkeyPatch, text: str, said: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(job, "TIME_LIMIT_S", 2.0)
    assert main([str(tiny_tflite), *tool("benchmark_model", text)]) == 1
    captured = capsys.readouterr()
    assert said in captured.err
    assert json.loads(captured.out)["results"][0]["verdict"] == "not known"
    assert pixel.clean()


def test_no_space_on_the_device(
    pixel: Phone, tiny_tflite: Path, tool: Callable[[str, str], list[str]], capsys: Capture
) -> None:
    filler = pixel.storage() / "filler"
    with filler.open("wb") as stream, pytest.raises(OSError):
        while True:
            stream.write(bytes(1 << 20))
            stream.flush()
    os.truncate(filler, filler.stat().st_size - (2 << 20))
    try:
        assert main([str(tiny_tflite), *tool("benchmark_model", "true")]) == 2
    finally:
        filler.unlink()
    assert f"no space for image.bin on {SERIAL}: 3.1 MB, and 2.1 MB are free" in (
        capsys.readouterr().err
    )
    assert pixel.clean()


def test_unplugged_between_push_and_run(
    pixel: Phone, tiny_tflite: Path, tool: Callable[[str, str], list[str]], capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run_here = tools.run_here

    def unplugged(*arguments: object) -> object:
        adbutils.AdbClient().disconnect(SERIAL)
        return run_here(*arguments)

    monkeypatch.setattr(tools, "run_here", unplugged)
    assert main([str(tiny_tflite), *tool("benchmark_model", "true")]) == 6
    assert f"{SERIAL} stopped answering" in capsys.readouterr().err


def test_adbd_killed_in_the_middle(
    pixel: Phone, tiny_tflite: Path, tool: Callable[[str, str], list[str]], capsys: Capture
) -> None:
    assert main([str(tiny_tflite), *tool("benchmark_model", "pkill -9 adbd; sleep 77777")]) == 6
    captured = capsys.readouterr()
    assert f"{SERIAL} stopped answering" in captured.err
    assert "repeat, which also removes what may be left" in captured.err
    assert not pixel.clean()  # it cannot be reached; the fixture repeats, and looks again


def test_two_benchmarks_of_one_device(pixel: Phone, tiny_onnx: Path, capsys: Capture) -> None:
    with leased("Pixel 7"):
        assert main([str(tiny_onnx), "--device", "pixel7"]) == 6
    assert f"{SERIAL} is in use by process {os.getpid()}" in capsys.readouterr().err


def test_a_baseline_of_counts_says_nothing_of_a_device(
    pixel: Phone, tmp_path: Path, capsys: Capture
) -> None:
    baseline = tmp_path / "baseline.json"
    baseline.write_text('{"results": [{"path": "a.onnx", "instructions": 9}]}')
    assert main(["a.onnx", "--device", "pixel7", "--baseline", str(baseline)]) == 2
    assert "which only emulated runs have" in capsys.readouterr().err


def test_interrupted(
    pixel: Phone, tiny_tflite: Path, tool: Callable[[str, str], list[str]]
) -> None:
    command = [sys.executable, "-m", "rethined_export.cli.bench", str(tiny_tflite)]
    options = tool("benchmark_model", "sleep 77777")
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 60
        while ["sleep", "77777"] not in pixel.commands():
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in said
    assert pixel.clean()


def test_nothing_that_could_run_it(
    pixel: Phone, tiny_onnx: Path, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ours = (pixel.programs / "python3").read_text()
    pixel.program("python3", "exit 127")
    try:
        assert main([str(tiny_onnx), "--device", "pixel7"]) == 6
    finally:
        pixel.program("python3", ours.removeprefix("#!/bin/sh\n"))
    assert "give --tool PATH, a build of onnxruntime_perf_test" in capsys.readouterr().err


def test_a_tool_that_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tools.kept("tflite") is None
    tools.kept_at("tflite").parent.mkdir(parents=True)
    tools.kept_at("tflite").touch()
    assert tools.kept("tflite") == tmp_path / "rethined-export/tools/benchmark_model"
    assert tools.kept("onnx") is None


def test_which_device(pixel: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnavailableError, match=rf"says Pixel 8 \({SERIAL} is Pixel 7\)"):
        client.find("Pixel 8")
    second = f"localhost:{SERIAL.rpartition(':')[2]}"
    adbutils.AdbClient().connect(second)
    with pytest.raises(UnavailableError, match=r"2 devices say Pixel 7 .* set ANDROID_SERIAL"):
        client.find("Pixel 7")
    monkeypatch.setenv("ANDROID_SERIAL", second)
    assert client.find("Pixel 7") == second
    adbutils.AdbClient().disconnect(second)


def test_every_word_reaches_the_shell_as_it_is(pixel: Phone) -> None:
    words = [_ODD, "", "\n", "\\", "*", "~", "é", "-n", "'", "!x"]
    with leased("Pixel 7") as device:
        done = device.shell("printf", "[%s]", *words)
        assert done.out == "".join(f"[{word}]" for word in words)
        assert device.script('printf "[%s]" "$@"', *words).out == done.out
        assert not list(pixel.storage().rglob("harm"))


def test_no_adb_here(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnavailableError, match="adb cannot start its server"):
        client.find("Pixel 7")
    monkeypatch.setattr(client, "adbutils", None)
    with pytest.raises(UnavailableError, match="adbutils is not installed"):
        client.find("Pixel 7")


def test_a_tool_that_is_none(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "bench").touch()
    assert main(["a.onnx", "--tool", str(tmp_path / "bench")]) == 2
    assert "neither benchmark_model nor onnxruntime_perf_test" in capsys.readouterr().err
    assert main(["a.onnx", "--tool", str(tmp_path / "none")]) == 2
    assert "no such file" in capsys.readouterr().err
    tool = tmp_path / "benchmark_model"
    tool.touch()
    assert main(["a.onnx", "--tool", str(tool)]) == 2
    assert "--tool runs on devices over adb; this machine is none" in capsys.readouterr().err


def test_lines_that_benchmark_model_prints() -> None:
    old = "count=5 curr=800\ncount=50 first=7 curr=7 min=265837 max=268116 avg=266473 std=419"
    warm, spread = tools._litert_lines(Done(0, "", old, 1))
    assert (warm, spread.runs, spread.max, spread.p95) == (5, 50, 268.116, None)
    new = f"count=5 curr=8(all same)\nINFO: {_STATS} p5=9050 median=9200 p95=9900"
    _, spread = tools._litert_lines(Done(0, new, "", 1))
    assert spread.bounds("p50") == (9.2, 9.2)
    assert spread.bounds("p90") == (9.2, 9.9)
    assert spread.bounds("p99") == (9.9, 15.0)
    _, spread = tools._litert_lines(Done(0, "count=9 curr=5000(all same)", "", 1))
    assert (spread.min, spread.max, spread.std) == (5, 5, 0)


def test_a_bound_decides_only_what_it_can() -> None:
    spread = Spread(50, min=9, mean=20, max=40, std=5, p50=None, p95=None)

    def answer(low: float, high: float, budget: float, unsteady: bool = False) -> str:
        return judge_inference(low, high, budget, unsteady=unsteady).answer

    assert answer(*spread.bounds("mean"), 30) == "meets the budget"
    assert answer(*spread.bounds("p90"), 30) == "not known"
    assert answer(*spread.bounds("p90"), 8) == "over the budget"
    assert answer(28, 28, 30) == "not known"  # too near for what is not timed
    assert answer(32, 32, 30) == "over the budget"
    assert answer(32, 32, 30, unsteady=True) == "not known"


def test_a_result_that_makes_no_sense(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(JobError, match="cannot be read"):
        adb._read(tmp_path)


def test_the_guest_needs_nothing_of_ours_and_no_time_of_day() -> None:
    """It runs where this package is not installed, on a clock that may be set meanwhile."""
    for path in (adb.GUEST, Path(timing.__file__)):
        text = path.read_text()
        assert "rethined_export" not in text
        assert "datetime" not in text and "time.time" not in text
