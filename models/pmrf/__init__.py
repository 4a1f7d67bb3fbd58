"""Parallel Multi-Resolution Fusion (ICCV 2021): four resolutions side by side, from its slides."""

from rethined_export.models.pmrf.attention import Attention
from rethined_export.models.pmrf.config import LEVELS, PRESETS, STRIDE, PmrfConfig
from rethined_export.models.pmrf.inpainter import Inpainter, composite, native_input
from rethined_export.models.pmrf.layers import Layer, PartialConv, window_sum
from rethined_export.models.pmrf.model import Fill, Pmrf, seed_stand_in
from rethined_export.models.pmrf.priority import DELTA, Rule, contour, mask_update

__all__ = [
    "DELTA",
    "LEVELS",
    "PRESETS",
    "STRIDE",
    "Attention",
    "Fill",
    "Inpainter",
    "Layer",
    "PartialConv",
    "Pmrf",
    "PmrfConfig",
    "Rule",
    "composite",
    "contour",
    "mask_update",
    "native_input",
    "seed_stand_in",
    "window_sum",
]
