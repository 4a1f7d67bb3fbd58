"""RePaint (CVPR 2022): a hole filled by a network that takes noise off, step by step."""

from rethined_export.models.repaint.config import PRESETS, STAND_IN_GAIN, RepaintConfig
from rethined_export.models.repaint.schedule import TRAINED, Schedule
from rethined_export.models.repaint.step import (
    INPUTS,
    Draw,
    RepaintInpainter,
    RepaintStep,
    Stepped,
    composite,
    mixed,
    noises,
    stepped,
    walked,
)
from rethined_export.models.repaint.unet import RepaintUNet, waves

__all__ = [
    "INPUTS",
    "PRESETS",
    "STAND_IN_GAIN",
    "TRAINED",
    "Draw",
    "RepaintConfig",
    "RepaintInpainter",
    "RepaintStep",
    "RepaintUNet",
    "Schedule",
    "Stepped",
    "composite",
    "mixed",
    "noises",
    "stepped",
    "walked",
    "waves",
]
