"""The jobs that time an artifact, or several programs, in the browser."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rethined_export.benchmarks.browser.tab import Tab, opened
from rethined_export.benchmarks.measure import times_of
from rethined_export.benchmarks.sample import Scene, read_sample
from rethined_export.benchmarks.subjects import noise_photo
from rethined_export.converters import target_of
from rethined_export.jobs.registry import Report, job
from rethined_export.photo.window import Window


@job
def measure_in_browser(
    report: Report,
    *,
    artifact: str,
    folder: str,
    threads: int,
    accelerator: str,
    warm_up: int | None,
    runs: int | None,
) -> dict[str, Any]:
    """Time fills by a whole artifact in Chromium, as ``measure`` does, and compare one output.

    Args:
        folder: what ``sample`` left there.
    """
    path, place, target = Path(artifact), Path(folder), target_of(Path(artifact))
    photo, own = read_sample(place, target)
    scenes = {"noise": Scene(*noise_photo(Window(*photo.hole.shape))), "photo": photo}
    content: dict[str, Path | bytes] = {"/programs/whole": path}
    for name, scene in scenes.items():
        content |= {f"/{name}/photo": scene.photo.tobytes(), f"/{name}/hole": scene.hole.tobytes()}
    work = {
        "target": target,
        "threads": threads,
        "accelerator": accelerator,
        "shapes": {"whole": _shapes(place)},
    }

    def difference(tab: Tab) -> float:
        return tab.difference(photo, own, target)

    return _timed(report, work, content, difference, warm_up, runs)


@job
def measure_apart_in_browser(
    report: Report,
    *,
    told: Mapping[str, Any],
    target: str,
    folder: str,
    threads: int,
    accelerator: str,
    warm_up: int | None,
    runs: int | None,
) -> dict[str, Any]:
    """The same of several programs, with what runs beside them compiled for the page.

    Args:
        told: what ``sample`` said. folder: what it left.
    """
    place = Path(folder)
    content: dict[str, Path | bytes] = {"/rethined.wasm": Path(told["page"])}
    for name, part in told["parts"].items():
        content[f"/programs/{name}"] = Path(part["path"])
    for name in ("noise", "photo"):
        for what in ("photo", "hole"):
            content[f"/{name}/{what}"] = place / name / f"{what}.raw"
    work = {
        "target": target,
        "threads": threads,
        "accelerator": accelerator,
        "shapes": {name: _shapes(place / name) for name in told["parts"]},
        "settings": {**told["page_settings"], "nhwc": target == "tflite"},
    }

    def difference(tab: Tab) -> float:
        with np.load(place / "photo" / "own.npz") as own:
            return tab.difference_of_pair(own["output"])

    return _timed(report, work, content, difference, warm_up, runs)


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Of a program's inputs, in its own layouts."""
    with np.load(folder / "inputs.npz") as inputs:
        return {name: inputs[name].shape for name in inputs.files}


def _timed(
    report: Report,
    work: Mapping[str, Any],
    content: Mapping[str, Path | bytes],
    difference: Callable[[Tab], float],
    warm_up: int | None,
    runs: int | None,
) -> dict[str, Any]:
    report("starting the browser")
    # A place of its own under TMPDIR, which goes with this process.
    place = Path(tempfile.mkdtemp())
    with opened(work, content, place) as tab:
        times = times_of(report, tab.time, warm_up, runs)
        report("comparing")
        return {
            **times,
            "load": tab.load,
            "agent": tab.agent,
            "adapter": tab.adapter,
            "difference": difference(tab),
            "peak_rss_bytes": tab.peak_rss_bytes(),  # the page's, not this process's
        }
