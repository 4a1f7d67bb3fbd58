"""DeepFill a few channels wide, and its artifacts; light to import, for other processes."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from rethined_export.converters import converter
from rethined_export.models.deepfill import PRESETS, Deepfill, DeepfillInpainter, fixed_keys
from rethined_export.models.seeded import seed_weights
from rethined_export.recipes.deepfill import RECIPE, DeepfillOptions


def narrow(preset: str) -> DeepfillInpainter:
    """Seeded, four channels wide at full resolution."""
    config = PRESETS[preset]
    small = replace(config, width=4, painter_width=config.painter_width // 6)
    network = Deepfill(small).eval().requires_grad_(False)
    seed_weights(network, config.gain, fixed_keys(network))
    return DeepfillInpainter(network).eval()


def write_artifact(options: DeepfillOptions, target: str, path: Path) -> Path:
    """Convert in a process of its own: this one may have loaded an artifact before."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(_convert, options, target, path).result()
    return path


def _convert(options: DeepfillOptions, target: str, path: Path) -> None:
    program = RECIPE.program(options, narrow(options.preset), "whole")
    converter(target).convert(program, path)
