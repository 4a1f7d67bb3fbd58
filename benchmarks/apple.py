"""Core ML itself, through coremltools: on this Mac, or on a phone or tablet attached to it.

Only macOS can run this.
"""

import asyncio
import platform
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rethined_export.benchmarks.measure import times_of
from rethined_export.benchmarks.subjects import Parts, noise_photo, whole
from rethined_export.converters.types import Array, ArtifactError
from rethined_export.errors import UnavailableError
from rethined_export.jobs.registry import Report, job
from rethined_export.photo.window import Window


class Program:
    """An artifact that Core ML has loaded.

    Attributes:
        where: name and system of what runs it.
    """

    def __init__(self, runner: asyncio.Runner, model: Any, where: str) -> None:
        self._runner, self._model, self.where = runner, model, where

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """Run it once.

        Raises:
            ArtifactError: Core ML refuses.
        """
        try:
            outputs: dict[str, Array] = self._runner.run(self._model.predict(inputs, state=None))
        except Exception as error:  # coremltools raises whatever its native code throws
            raise ArtifactError(f"Core ML cannot run it: {error}") from error
        return outputs

    @property
    def load(self) -> float:
        """Milliseconds that Core ML took to load it."""
        return float(self._model.load_duration_in_nano_seconds / 1e6)

    @property
    def last(self) -> float:
        """Milliseconds of the last run on the device itself, without the way there and back."""
        return float(self._model.last_predict_duration_in_nano_seconds / 1e6)

    def units(self) -> Counter[str]:
        """How many operators Core ML means to run where."""
        from coremltools.models import compute_device

        names = {
            compute_device.MLCPUComputeDevice: "CPU",
            compute_device.MLGPUComputeDevice: "GPU",
            compute_device.MLNeuralEngineComputeDevice: "Neural Engine",
        }
        plan = self._runner.run(self._model.retrieve_compute_plan())
        counts: Counter[str] = Counter()
        for operation in plan.model_structure.program.functions["main"].block.operations:
            usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
            if usage is not None:  # as of constants
                unit = usage.preferred_compute_device
                counts[names.get(type(unit), type(unit).__name__)] += 1
        return counts


def reason_against(model: str) -> str:
    """Why Core ML cannot be measured now, and what to do; empty if it can.

    Args:
        model: type of the attached device as coremltools writes it, ``iphone`` or ``ipad``; empty
            for this Mac.
    """
    if platform.system() != "Darwin":
        where = f"a Mac with the {model} attached" if model else "a Mac"
        return (
            f"Core ML runs on Apple's systems only; run this on {where} (rethined-parity checks "
            "the numbers anywhere)"
        )
    try:
        import coremltools  # noqa: F401
    except ImportError:
        return "coremltools is not installed; run: pip install 'rethined-export[coreml]'"
    try:
        found = not model or attached(model)
    except Exception as error:  # of Xcode's devicectl
        return f"attached devices cannot be listed: {error}"
    advice = "connect one, unlock it and turn on its Developer Mode"
    return "" if found else f"no {model} is attached; {advice}"


def attached(model: str) -> list[Any]:
    """Devices of a type that are attached now.

    Raises:
        Exception: whatever coremltools finds wrong with Xcode's devicectl.
    """
    from coremltools.models.ml_program.experimental.remote_device import Device, DeviceType

    return list(Device.get_connected_devices(DeviceType(model)))


@contextmanager
def loaded(artifact: Path, model: str) -> Iterator[Program]:
    """An artifact in Core ML, on all the units it may use.

    Args:
        model: type of the attached device to run on; empty for this Mac.

    Raises:
        ArtifactError: Core ML cannot load it.
        UnavailableError: the device is not attached, or cannot be made ready.
    """
    from coremltools.models.ml_program.experimental.async_wrapper import MLModelAsyncWrapper

    with asyncio.Runner() as runner:
        device = _ready(runner, model) if model else None
        where = f"{device.name}, {device.os_version}" if device else "this Mac"
        wrapper = MLModelAsyncWrapper.from_spec_or_path(
            str(artifact), weights_dir="", device=device
        )
        try:
            runner.run(wrapper.load())
        except Exception as error:  # coremltools raises whatever its native code throws
            raise ArtifactError(f"Core ML cannot load {artifact}: {error}") from error
        try:
            yield Program(runner, wrapper, where)
        finally:
            runner.run(wrapper.unload())


@job
def measure_on_apple(
    report: Report,
    *,
    artifact: str,
    folder: str,
    model: str,
    warm_up: int | None,
    runs: int | None,
) -> dict[str, Any]:
    """Time fills by a whole artifact in Core ML, as ``measure`` does, and compare one output.

    Inference is timed by Core ML where it runs; the photo becomes inputs, and output, here.

    Args:
        folder: what ``sample`` left there.
        model: type of the attached device; empty for this Mac.
    """
    with np.load(Path(folder) / "inputs.npz") as stored:
        inputs = dict(stored)
    photo, hole = noise_photo(Window(*inputs["mask"].shape[2:]))
    report("loading")
    with loaded(Path(artifact), model) as program:

        def fill() -> Parts:
            return replace(whole(program, photo, hole, "C"), inference=program.last)

        times = times_of(report, fill, warm_up, runs)
        report("comparing")
        with np.load(Path(folder) / "own.npz") as own:
            difference = float(np.abs(program(**inputs)["output"] - own["output"]).max())
        return {
            "load": program.load,
            "where": program.where,
            "units": program.units(),
            "difference": difference,
            **times,
        }


def _ready(runner: asyncio.Runner, model: str) -> Any:
    """The first attached device of a type; Apple's model runner, which Xcode builds, runs on it."""
    try:
        return runner.run(attached(model)[0].prepare_for_model_debugging())
    except Exception as error:  # no device any more, or Xcode's own
        raise UnavailableError(f"the {model} cannot be made ready: {error}") from error
