"""Two artifacts of one network, run in turn."""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from rethined_export.benchmarks.timing import paired_ratio
from rethined_export.converters import converter
from rethined_export.converters.types import Array
from rethined_export.jobs.registry import Report, job
from rethined_export.spec import ExportSpec

THREADS = 2
#: Runs of each that count, after two that do not.
_PAIRS, _WARM_UP = 12, 2


@job
def time_beside(report: Report, *, spec: dict[str, Any], exact: str, path: str) -> dict[str, Any]:
    """How often faster an artifact is than the same in fp32: ``ratio``, median and interval."""
    report("timing")
    made = ExportSpec.from_dict(spec)
    scene = next(iter(made.recipe.scenes(made.options, None, None)))
    load = converter(made.target).load
    with load(Path(exact), THREADS) as slow, load(Path(path), THREADS) as fast:
        pairs = [
            (_milliseconds(fast, scene.inputs), _milliseconds(slow, scene.inputs))
            for _ in range(_PAIRS + _WARM_UP)
        ][_WARM_UP:]
    ours, theirs = (np.array(times) for times in zip(*pairs, strict=True))
    return {"ratio": paired_ratio(theirs, ours)}


def _milliseconds(runner: Callable[..., object], inputs: dict[str, Array]) -> float:
    begun = perf_counter()
    runner(**inputs)
    return 1e3 * (perf_counter() - begun)
