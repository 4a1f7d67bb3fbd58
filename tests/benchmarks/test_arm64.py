"""The arm64 emulator: real aarch64 runtimes, their numbers, and a count that repeats."""

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rethined_export.benchmarks.arm64.system import System, build
from rethined_export.benchmarks.profiles import load_profiles
from rethined_export.benchmarks.runners import arm64
from rethined_export.benchmarks.verdict import estimate
from rethined_export.cli.bench import main
from rethined_export.errors import UnavailableError
from tests.copies import copied
from tests.tiny_pair import tiny_pair

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def emulated() -> System:
    """The built system; CI must be able to build it."""
    try:
        return build(print)
    except UnavailableError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


def small_model(path: Path) -> Path:
    """A product of two matrices."""
    weight = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [256, 256])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [256, 256])],
        [helper.make_tensor("w", TensorProto.FLOAT, [256, 256], weight.tobytes(), raw=True)],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def test_a_count_repeats_and_numbers_are_right(emulated: System, tmp_path: Path) -> None:
    model = small_model(tmp_path / "a b'$(x);.onnx")
    x = np.random.default_rng(1).standard_normal((256, 256)).astype(np.float32)
    np.savez(tmp_path / "inputs.npz", x=x)
    counts = [arm64.emulate(emulated, tmp_path, model, "onnx") for _ in range(2)]
    assert max(counts) - min(counts) < 0.001 * min(counts)
    assert min(counts) > 256**3 / 4  # an instruction multiplies and adds four numbers at most
    weight = onnx.numpy_helper.to_array(onnx.load(model).graph.initializer[0])
    with np.load(tmp_path / "outputs.npz") as made:
        np.testing.assert_allclose(made["y"], x @ weight, atol=1e-4)


def test_a_phone_that_is_not_there(emulated: System, small_onnx: Path, capsys: Capture) -> None:
    """The emulator stands in, says so, and leaves the verdict open."""
    assert main([str(small_onnx), "--device", "pixel7", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["provenance"] == "emulated"
    assert result["ms"] is None
    assert result["instructions"] > 1e5
    assert result["difference_from_host"] < 1e-4
    assert result["verdict"] == "not known"
    assert "emulator instead: " in result["reason"] and "estimate" in result["reason"]


def test_wrong_numbers_on_arm64_fail(
    emulated: System, small_onnx: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An output that differs between processors must not pass for a count."""

    def wrong(_system: System, folder: Path, _artifact: Path, _target: str) -> int:
        with np.load(folder / "own.npz") as own:
            np.savez(folder / "outputs.npz", output=own["output"] + 1e-3)
        return 10**9

    monkeypatch.setattr(arm64, "emulate", wrong)
    assert main([str(small_onnx), "--device", "arm64-emulator"]) == 3
    assert "differs by 1.0e-03" in capsys.readouterr().err


def test_an_artifact_the_emulated_runtime_refuses(
    emulated: System, small_onnx: Path, tmp_path: Path, capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    broken = copied(small_onnx, tmp_path / "copy")
    sampled = arm64.run_job

    def cut_after_sampling(*arguments: object) -> object:
        made = sampled(*arguments)
        broken.write_bytes(broken.read_bytes()[:2000])
        return made

    monkeypatch.setattr(arm64, "run_job", cut_after_sampling)
    assert main([str(broken), "--device", "arm64-emulator"]) == 1
    assert "the emulated run ended with" in capsys.readouterr().err


def test_an_emulator_that_is_not_built(
    small_onnx: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main([str(small_onnx), "--device", "pixel7"]) == 6
    assert "make emulator" in capsys.readouterr().err


def test_building_without_a_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="apt-get, dpkg, gcc is missing"):
        build(print)


def test_a_download_that_fails_leaves_no_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tool in ("apt-get", "dpkg", "gcc"):
        script = tmp_path / tool
        script.write_text("#!/bin/sh\necho 'E: no such package' >&2\nexit 100\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UnavailableError, match="apt-get failed: E: no such package"):
        build(print)
    with pytest.raises(UnavailableError, match="not built"):
        arm64.system()


def test_an_estimate_is_a_band_with_its_assumptions() -> None:
    said = estimate(2_850_000_000, load_profiles()["pixel7"])
    assert said == (
        "estimate 333–1000 ms: 2.85 G instructions on one Cortex-X1 at 2.85 GHz, 1 to 3 a cycle"
    )
    assert estimate(10**9, load_profiles()["arm64-emulator"]) == "emulated, 1.00 G instructions"


def test_the_guest_needs_nothing_of_ours() -> None:
    """It runs where this package is not installed."""
    assert "rethined_export" not in arm64.GUEST.read_text()


def test_a_pair_counts_its_programs_and_librethined(
    emulated: System, tmp_path: Path, capsys: Capture
) -> None:
    assert main([str(tiny_pair(tmp_path)), "--device", "arm64-emulator", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert "librethined on cortex-a76" in result["runtime"]
    assert result["difference_from_host"] <= 1e-5
    # 410 patches of 16 x 16, each pixel of some dozens of products, four a time.
    assert result["instructions"] > 410 * 16 * 16 * 3 * 20 / 4
