"""HiFill (CVPR 2020): attention at 512 that also says what the residuals of a large photo are."""

from rethined_export.models.hifill.attention import ContextualAttention, pasted
from rethined_export.models.hifill.config import CELL, PRESETS, HiFillConfig
from rethined_export.models.hifill.enlarge import enlarged
from rethined_export.models.hifill.inpainter import HiFillInpainter, native_input, painted, reduced
from rethined_export.models.hifill.model import HiFill, seed_stand_in

__all__ = [
    "CELL",
    "PRESETS",
    "ContextualAttention",
    "HiFill",
    "HiFillConfig",
    "HiFillInpainter",
    "enlarged",
    "native_input",
    "painted",
    "pasted",
    "reduced",
    "seed_stand_in",
]
