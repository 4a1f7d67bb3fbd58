"""A narrow LaMa and its artifacts; light to import, for the process that converts to ONNX."""

from dataclasses import replace
from pathlib import Path

from rethined_export.converters import converter
from rethined_export.models.lama import PRESETS, Inpainter, Lama
from rethined_export.models.seeded import seed_weights
from rethined_export.recipes.lama import RECIPE, LamaOptions

OPTIONS = LamaOptions(preset="fourier", size="96x64")


def narrow() -> Inpainter:
    network = Lama(replace(PRESETS["fourier"], width=8, blocks=1)).eval()
    seed_weights(network, gain=1.0)
    return Inpainter(network).eval()


def write_artifact(target: str, path: Path) -> None:
    converter(target).convert(RECIPE.program(OPTIONS, narrow(), "whole"), path)
