"""Narrow two-stage networks and their artifacts; light to import, for the process that converts."""

from dataclasses import replace
from pathlib import Path

from rethined_export.converters import converter
from rethined_export.models.dfnet import STAND_IN_GAIN
from rethined_export.models.seeded import seed_weights
from rethined_export.models.twostage import TwoStageInpainter, TwoStageNetworks
from rethined_export.recipes.twostage import RECIPE
from rethined_export.recipes.twostage.options import TwoStageOptions

#: Half as wide again as high: enlarged by no whole number, with black above and below.
OPTIONS = TwoStageOptions(size="768x512")
NATIVE = replace(OPTIONS, io="native")


def narrow() -> TwoStageInpainter:
    """Every layer of both networks, of a few channels."""
    networks = TwoStageNetworks(
        (12, 10, 9, 8, 8, 8, 8, 8), (10, 12, 9, 8, 8, 8, 8, 8)
    )  # fmt: skip
    networks = networks.eval().requires_grad_(False)
    seed_weights(networks.coarse, STAND_IN_GAIN)
    seed_weights(networks.refine, STAND_IN_GAIN)
    return TwoStageInpainter(networks).eval()


def write(target: str, part: str, path: Path) -> None:
    """Convert a part."""
    options = OPTIONS if part == "whole" else NATIVE
    converter(target).convert(RECIPE.program(options, narrow(), part), path)
