"""What two published networks cannot bear in float16 is found in their artifacts."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from rethined_export.converters import TARGETS, converter
from rethined_export.ranges.findings import Finding, findings
from rethined_export.ranges.inside import DIVISOR
from rethined_export.ranges.measuring import measure
from rethined_export.recipes.lama import RECIPE
from rethined_export.tracing.artifact import recorder
from rethined_export.tracing.inputs import at_random
from tests.mutations.narrow_lama import OPTIONS, narrow
from tests.narrow_guests import write_artifact

pytestmark = [pytest.mark.slow, pytest.mark.conversion]
#: How much larger the maps are made that the first Fourier unit takes.
LOUD = 65_000
#: Kinds of matrix products.
PRODUCTS = ("MatMul", "Gemm", "FULLY_CONNECTED", "BATCH_MATMUL", "matmul", "linear")


def found(artifact: Path, folder: Path) -> list[Finding]:
    run = recorder(artifact, 1)
    return findings(run.graph, measure(run, [at_random(run.takes)], folder))


def write_loud_lama(target: str, path: Path) -> None:
    """A network whose maps reach some thousands: the sums of its spectrum are much larger.

    Trained networks may have such maps; the seeded stand-in's are of the order of 1.
    """
    network = narrow()
    with torch.no_grad():
        network.get_parameter("lama.model.4.bn_g.weight").mul_(LOUD)
        network.get_parameter("lama.model.4.bn_g.bias").mul_(LOUD)
    converter(target).convert(RECIPE.program(OPTIONS, network, "whole"), path)


@pytest.mark.parametrize("target", TARGETS)
def test_lamas_fourier_units(target: str, tmp_path: Path) -> None:
    path = tmp_path / f"lama{TARGETS[target].suffix}"
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(write_loud_lama, target, path).result()
    told = [one for one in found(path, tmp_path) if one.verdict == "overflows"]
    assert told
    assert told[0].operator in PRODUCTS


@pytest.mark.parametrize("target", TARGETS)
def test_aot_gans_deviation(target: str, tmp_path: Path) -> None:
    """A gate that is the same everywhere divides by 1e-9, which float16 takes for zero."""
    path = write_artifact("aot-gan", target, tmp_path / f"aot{TARGETS[target].suffix}")
    told = {(one.what, one.verdict) for one in found(path, tmp_path)}
    assert told == {("constant", "vanishes"), (DIVISOR, "vanishes")}
