"""MI-GAN (ICCV 2023): the generator of mobile inpainting, its presets, and its inpainter."""

from rethined_export.models.migan.config import PRESETS, STAND_IN_GAIN, MiGanConfig
from rethined_export.models.migan.inpainter import MiGanInpainter, composite, native_input
from rethined_export.models.migan.model import MiGan, fixed_keys

__all__ = [
    "PRESETS",
    "STAND_IN_GAIN",
    "MiGan",
    "MiGanConfig",
    "MiGanInpainter",
    "composite",
    "fixed_keys",
    "native_input",
]
