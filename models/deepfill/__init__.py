"""DeepFill v1 and v2 (CVPR 2018, ICCV 2019): reference models of five ports."""

from rethined_export.models.deepfill.attention import ContextualAttention, reduced_places
from rethined_export.models.deepfill.config import PRESETS, AttentionConfig, DeepfillConfig
from rethined_export.models.deepfill.inpainter import DeepfillInpainter, composite, native_input
from rethined_export.models.deepfill.layers import Layer
from rethined_export.models.deepfill.model import Deepfill, fixed_keys

__all__ = [
    "PRESETS",
    "AttentionConfig",
    "ContextualAttention",
    "Deepfill",
    "DeepfillConfig",
    "DeepfillInpainter",
    "Layer",
    "composite",
    "fixed_keys",
    "native_input",
    "reduced_places",
]
