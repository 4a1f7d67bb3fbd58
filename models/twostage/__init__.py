"""The two-stage system of Moskalenko, Erofeev and Vatolin: DFNet at 512, refined at full size."""

from rethined_export.models.twostage.config import LOW, PRESETS, TwoStageConfig
from rethined_export.models.twostage.glue import (
    Letterbox,
    coarse_input,
    coarse_result,
    enlarged,
    refine_input,
    shift_of,
)
from rethined_export.models.twostage.inpainter import TwoStageInpainter, TwoStageNetworks
from rethined_export.models.twostage.refinement import Refinement

__all__ = [
    "LOW",
    "PRESETS",
    "Letterbox",
    "Refinement",
    "TwoStageConfig",
    "TwoStageInpainter",
    "TwoStageNetworks",
    "coarse_input",
    "coarse_result",
    "enlarged",
    "refine_input",
    "shift_of",
]
