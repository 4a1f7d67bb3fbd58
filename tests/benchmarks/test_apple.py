"""The Apple runner where there is no Apple: its refusals, and its calls to coremltools' own API."""

import inspect
import platform
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from coremltools.models import compute_device
from coremltools.models.compute_plan import MLComputePlan, MLModelStructureProgram
from coremltools.models.ml_program.experimental.async_wrapper import MLModelAsyncWrapper
from coremltools.models.ml_program.experimental.remote_device import Device, DeviceState, DeviceType

from rethined_export.benchmarks import apple, runners
from rethined_export.benchmarks.bench import bench
from rethined_export.benchmarks.profiles import load_profiles
from rethined_export.benchmarks.runners.types import Plan
from rethined_export.cli.bench import main

Monkey = pytest.MonkeyPatch


@pytest.fixture
def mac(monkeypatch: Monkey) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")


class Model(MLModelAsyncWrapper):  # abstract: every method it needs must exist under this name
    """What Core ML would load: takes 7 ms, gives back what it gets."""

    def __init__(self) -> None:
        self._temp_asset_path = None
        self.loaded = False

    async def load(self) -> None:
        self.loaded = True

    async def unload(self) -> None:
        self.loaded = False

    async def predict(self, inputs: dict[str, Any], state: object) -> dict[str, Any]:
        assert self.loaded and state is None
        return {"output": inputs["image"]}

    async def retrieve_compute_plan(self) -> Any:
        def unit(kind: type) -> Any:
            return kind.__new__(kind)

        used = {
            "conv": compute_device.MLGPUComputeDevice,
            "topk": compute_device.MLCPUComputeDevice,
        }
        operations = ["conv", "const", "topk", "conv"]
        block = SimpleNamespace(operations=operations)
        return SimpleNamespace(
            model_structure=SimpleNamespace(
                program=MLModelStructureProgram({"main": SimpleNamespace(block=block)})
            ),
            get_compute_device_usage_for_mlprogram_operation=lambda name: (
                SimpleNamespace(preferred_compute_device=unit(used[name])) if name in used else None
            ),
        )

    def make_state_if_needed(self) -> None:
        return None

    @property
    def load_duration_in_nano_seconds(self) -> int:
        return 50_000_000

    @property
    def last_predict_duration_in_nano_seconds(self) -> int:
        return 7_000_000


def measured(monkeypatch: Monkey, folder: Path, own: Any, model: str = "") -> dict[str, Any]:
    signature = inspect.signature(MLModelAsyncWrapper.from_spec_or_path)
    asked = []

    def made(*arguments: Any, **options: Any) -> Model:
        asked.append(signature.bind(*arguments, **options).arguments)
        return Model()

    monkeypatch.setattr(MLModelAsyncWrapper, "from_spec_or_path", made)
    image = np.full((1, 3, 64, 64), 0.5, np.float32)
    np.savez(folder / "inputs.npz", image=image, mask=np.zeros((1, 1, 64, 64), np.float32))
    np.savez(folder / "own.npz", output=image + own)
    job = {"artifact": "a.mlpackage", "folder": str(folder), "model": model}
    told = apple.measure_on_apple(lambda _stage: None, **job, warm_up=1, runs=3)
    assert asked[0]["spec_or_path"] == "a.mlpackage"
    return told | {"device": asked[0]["device"]}


def test_off_a_mac_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = tmp_path / "a.mlpackage"
    package.mkdir()
    for device, said in (("mac", "run this on a Mac"), ("ipad-pro-m2", "the ipad attached")):
        assert main([str(package), "--device", device]) == 6
        line = capsys.readouterr().err
        assert "cannot be reached: Core ML runs on Apple's systems only" in line and said in line


def test_a_mac_without_the_phone(mac: None, monkeypatch: Monkey) -> None:
    assert apple.reason_against("") == ""
    assert "devicectl" in apple.reason_against("iphone")  # Xcode's tools are not here
    monkeypatch.setattr(Device, "get_devices", list)
    assert apple.reason_against("iphone").startswith("no iphone is attached; connect one")
    monkeypatch.setattr(Device, "get_devices", lambda: [phone()])
    assert apple.reason_against("iphone") == ""


def phone() -> Device:
    state = {"state": DeviceState.CONNECTED, "type": DeviceType.IPHONE, "session": None}
    return Device(name="my phone", identifier="1", udid="1", os_version="26.1",
                  os_build_number="1", developer_mode_state="enabled", **state)  # fmt: skip


def test_runs_are_timed_where_they_run(tmp_path: Path, monkeypatch: Monkey) -> None:
    told = measured(monkeypatch, tmp_path, own=2e-5)
    assert told["inference"] == [7.0] * 3 and told["load"] == 50.0
    assert all(0 < value < 7 for value in told["before"] + told["after"])
    assert told["difference"] == pytest.approx(2e-5, rel=0.01)
    assert told["units"] == {"GPU": 2, "CPU": 1}
    assert told["where"] == "this Mac" and told["device"] is None


def test_an_attached_phone_is_made_ready(tmp_path: Path, monkeypatch: Monkey) -> None:
    async def ready(attached: Device) -> Device:
        return attached

    monkeypatch.setattr(Device, "get_devices", lambda: [phone()])
    monkeypatch.setattr(Device, "prepare_for_model_debugging", ready)
    told = measured(monkeypatch, tmp_path, own=0, model="iphone")
    assert told["where"] == "my phone, 26.1" and told["device"].name == "my phone"


@pytest.mark.parametrize("device", ["mac", "iphone-15"])
def test_a_phone_gives_inference_alone(device: str, monkeypatch: Monkey) -> None:
    told = {"before": [1.0] * 5, "inference": [20.0] * 5, "after": [2.0] * 5, "load": 50.0,
            "first": 90.0, "warm_up": 10, "where": "it", "units": {"GPU": 2, "CPU": 1},
            "difference": 2e-5, "peak_rss_bytes": 10**8}  # fmt: skip
    monkeypatch.setattr(runners.apple, "run_job", lambda *_job: told)
    profile, plan = load_profiles()[device], Plan(1, None, None)
    (result,) = bench(profile, [Path("a.mlpackage")], plan, 30.0, "p90", lambda *_stage: None)
    told = result.to_dict()
    assert told["runtime"] == "Core ML on it (operators: GPU 2, CPU 1)"
    assert told["verdict"] == "meets the budget"
    if device == "mac":
        assert told["provenance"] == "host" and told["ms"]["p90"] == 23
    else:
        assert told["provenance"] == "on-device" and told["ms"] is None
        assert told["parts_ms"]["inference"]["p90"] == 20
        assert "inference alone" in told["reason"]


def test_coremltools_has_what_is_asked_of_the_plan() -> None:
    assert callable(MLComputePlan.get_compute_device_usage_for_mlprogram_operation)
    assert isinstance(MLComputePlan.model_structure, property)
