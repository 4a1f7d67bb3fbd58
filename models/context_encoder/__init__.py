"""Context encoders (CVPR 2016): the centre of a small square from what surrounds it."""

from rethined_export.models.context_encoder.config import (
    CENTRE,
    OVERLAP,
    PRESETS,
    SIDE,
    STAND_IN_GAIN,
    ContextEncoderConfig,
)
from rethined_export.models.context_encoder.inpainter import (
    Inpainter,
    composite,
    in_centre,
    native_input,
)
from rethined_export.models.context_encoder.model import ContextEncoder

__all__ = [
    "CENTRE",
    "OVERLAP",
    "PRESETS",
    "SIDE",
    "STAND_IN_GAIN",
    "ContextEncoder",
    "ContextEncoderConfig",
    "Inpainter",
    "composite",
    "in_centre",
    "native_input",
]
