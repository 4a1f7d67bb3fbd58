"""Intervals hold for a whole network in every format, with attributes of its own."""

from pathlib import Path

import numpy as np
import pytest

from rethined_export.converters import TARGETS
from rethined_export.ranges.bounds import bounds
from rethined_export.tracing.artifact import recorder
from rethined_export.tracing.inputs import at_random
from rethined_export.tracing.tensors import Tensors

#: float32 sums of some hundred products are this far off, in shares of the interval.
ROUNDING = 1e-5


@pytest.mark.parametrize("target", TARGETS)
def test_a_networks_tensors_lie_in_their_intervals(
    target: str, small_exports: Path, tmp_path: Path
) -> None:
    [artifact] = small_exports.glob(f"*{TARGETS[target].suffix}")
    run = recorder(artifact, 1)
    stored = Tensors(tmp_path)
    for name, values in run.constants():
        stored.keep(name, values)
    told = bounds(run.graph, stored, {run.reads[name]: (0.0, 1.0) for name in run.takes})
    computed = [value.name for one in run.graph.operators for value in one.outputs]
    # Behind the quotient by a deviation nothing is known, up to the sigmoid.
    assert sum(name in told for name in computed) >= 0.6 * len(computed)
    for seed in range(5):
        inputs = {name: np.round(x, seed % 2) if name == "mask" else x
                  for name, x in at_random(run.takes, seed).items()}  # fmt: skip

        def within(name: str, values: np.ndarray) -> None:
            if name in told and values.dtype.kind == "f":
                low, high = told[name]
                slack = ROUNDING * max(1.0, abs(low), abs(high))
                assert low - slack <= values.min(), name
                assert values.max() <= high + slack, name

        run.record(inputs, within)
