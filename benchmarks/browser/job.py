"""The job that times one artifact in the browser."""

import tempfile
from pathlib import Path
from typing import Any

from rethined_export.benchmarks.browser.tab import opened
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
    warm_up: int | None,
    runs: int | None,
) -> dict[str, Any]:
    """Time fills by a whole artifact in Chromium, as ``measure`` does, and compare one output.

    Args:
        folder: what ``sample`` left there.
    """
    path, target = Path(artifact), target_of(Path(artifact))
    photo, own = read_sample(Path(folder), target)
    scenes = {"noise": Scene(*noise_photo(Window(*photo.hole.shape))), "photo": photo}
    report("starting the browser")
    # A place of its own under TMPDIR, which goes with this process.
    place = Path(tempfile.mkdtemp())
    with opened(path, target, scenes, threads, place) as tab:
        times = times_of(report, tab.time, warm_up, runs)
        report("comparing")
        return {
            **times,
            "load": tab.load,
            "agent": tab.agent,
            "difference": tab.difference(photo, own, target),
            "peak_rss_bytes": tab.peak_rss_bytes(),  # the page's, not this process's
        }
