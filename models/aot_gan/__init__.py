"""AOT-GAN (TVCG 2022): the generator of aggregated contextual transformations, its inpainter."""

from rethined_export.models.aot_gan.config import PRESETS, STAND_IN_GAIN, AotGanConfig
from rethined_export.models.aot_gan.inpainter import AotGanInpainter, composite, native_input
from rethined_export.models.aot_gan.model import AotBlock, AotGan, Enlarge, standardise

__all__ = [
    "PRESETS",
    "STAND_IN_GAIN",
    "AotBlock",
    "AotGan",
    "AotGanConfig",
    "AotGanInpainter",
    "Enlarge",
    "composite",
    "native_input",
    "standardise",
]
