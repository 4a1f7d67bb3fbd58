"""The job that reduces an artifact in fp32."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rethined_export.artifacts import remove
from rethined_export.converters import TARGETS, converter, installed, reducers
from rethined_export.converters.reducing.types import PRECISIONS, Reducer, Reduction
from rethined_export.converters.types import Array, Runner
from rethined_export.jobs.registry import Report, job
from rethined_export.parity.gates import GATES
from rethined_export.recipes.types import Reference, TorchRunner
from rethined_export.reduction.samples import Samples
from rethined_export.reduction.search import keep_worst
from rethined_export.spec import ExportSpec, load_reference

Errors = npt.NDArray[np.float64]
#: Photos of a search, of every cover, and how far beyond the gate it aims: those of the judge are
#: others, and were up to 5 dB below, in int8 up to 4. Where weights in 8 bits alone miss that,
#: keeping layers is no help: on such a photo a tenth of a decibel more than they cost is enough.
_SEARCHED, _MARGINS_DB = 8, {"int8": 4.2, "int8-dynamic": 4.2, "mixed": 6.0}
_SLACK = 1.02


@job
def reduce(
    report: Report,
    *,
    spec: dict[str, Any],
    source: str,
    path: str,
    threads: int,
    keep: list[str] | None = None,
) -> dict[str, Any]:
    """Write an artifact of a spec's precision from one in fp32.

    Args:
        keep: layers that compute in floats; None: those that a search finds.

    Returns:
        ``operators`` by name; ``kept``: layers that compute in floats; ``calibrated``: ``scenes``
        and ``sha256`` of what activations were measured on, None where they were not.
    """
    made = ExportSpec.from_dict(spec)
    precision = PRECISIONS[made.precision]
    torch.set_num_threads(threads)
    report("loading the model")
    reference = load_reference(made)
    report(f"reducing to {made.precision}")
    reducer = reducers(made.target).reducer(Path(source))
    samples = Samples(made, reference) if precision.calibrated else None
    how = Reduction(
        made.precision,
        samples or (lambda: iter(())),
        made.calibration.method if made.calibration else "minmax",
        made.integer_io,
        threads=threads,
    )
    kept = frozenset(keep or ())
    with installed(made.target):  # quantisers are imported late
        if precision.searched and keep is None:
            report("measuring which layers bear it worst")
            kept = _search(made, reference, reducer, how, threads)
        reducer.reduce(Path(path), replace(how, kept=kept))
    target, fingerprint = converter(made.target), samples and samples.fingerprint
    return {
        "operators": dict(sorted(target.count_operators(Path(path)).items())),
        "kept": sorted(kept),
        "calibrated": fingerprint and fingerprint.facts(),
    }


def _search(
    spec: ExportSpec, reference: Reference, reducer: Reducer, how: Reduction, threads: int
) -> frozenset[str]:
    """Layers to keep so that photos are filled well enough, by running what is written."""
    recipe, options = spec.recipe, spec.options
    twins: dict[str, Runner] = {
        part: TorchRunner(recipe.program(options, reference.model, part)) for part in spec.parts
    }
    whole = recipe.caller(options, twins)
    scenes = list(Samples(spec, reference, _SEARCHED).scenes())
    truths = [whole(**scene.inputs) for scene in scenes]

    def errors(kept: frozenset[str]) -> Errors:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"tried{TARGETS[spec.target].suffix}"
            reducer.reduce(path, replace(how, kept=kept))
            with converter(spec.target).load(path, threads) as runtime:
                runner = recipe.caller(options, {**twins, spec.part: runtime})
                found = [
                    _error(runner(**scene.inputs), truth, getattr(scene, "mask", None))
                    for scene, truth in zip(scenes, truths, strict=True)
                ]
            remove(path)
        return np.array(found)

    layers = reducer.layers()
    bound = 10 ** (-(GATES[spec.precision].psnr_hole_db + _MARGINS_DB[spec.precision]) / 10)
    bounds = np.maximum(bound, _SLACK * errors(frozenset(layers)))
    return keep_worst(layers, lambda kept: float((errors(kept) / bounds).max()))


def _error(made: Mapping[str, Array], truth: Mapping[str, Array], mask: Any) -> float:
    """Mean square error, of images in the hole."""
    name = "output" if "output" in truth else next(iter(truth))
    apart = np.asarray(made[name], np.float64) - np.asarray(truth[name], np.float64)
    if mask is not None:
        apart = apart[(mask.expand(apart.shape) > 0).numpy()]
    return float(np.square(apart).mean())
