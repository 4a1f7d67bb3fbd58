"""What two published networks cannot bear in float16 is found in their artifacts."""

from pathlib import Path

import pytest

from rethined_export.converters import TARGETS
from rethined_export.ranges.findings import Finding, findings
from rethined_export.ranges.inside import DIVISOR
from rethined_export.ranges.measuring import measure
from rethined_export.tracing.artifact import recorder
from rethined_export.tracing.inputs import at_random
from tests.guests import Guest, narrow_aot_gan, narrow_lama

pytestmark = [pytest.mark.slow, pytest.mark.conversion]
#: How much larger the maps are made that the first Fourier unit takes.
LOUD = 65_000
#: Kinds of matrix products.
PRODUCTS = ("MatMul", "Gemm", "FULLY_CONNECTED", "BATCH_MATMUL", "matmul", "linear")


def found(guest: Guest, target: str, folder: Path) -> list[Finding]:
    run = recorder(guest.write(target, folder)["whole"], 1)
    return findings(run.graph, measure(run, [at_random(run.takes)], folder))


@pytest.mark.parametrize("target", TARGETS)
def test_lamas_fourier_units(target: str, tmp_path: Path) -> None:
    """Maps that fit make a spectrum that does not: its first bin is the sum of a whole map."""
    guest = narrow_lama()
    for name in ("weight", "bias"):
        guest.model.get_parameter(f"lama.model.4.bn_g.{name}").mul_(LOUD)
    told = [one for one in found(guest, target, tmp_path) if one.verdict == "overflows"]
    assert told
    assert told[0].operator in PRODUCTS


@pytest.mark.parametrize("target", TARGETS)
def test_aot_gans_deviation(target: str, tmp_path: Path) -> None:
    """A gate that is the same everywhere divides by 1e-9, which float16 takes for zero."""
    told = {(one.what, one.verdict) for one in found(narrow_aot_gan(), target, tmp_path)}
    assert told == {("constant", "vanishes"), (DIVISOR, "vanishes")}
