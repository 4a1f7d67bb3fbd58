"""RETHINED (WACV 2025): reference model, presets, checkpoints."""

from rethined_export.models.rethined.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from rethined_export.models.rethined.config import (
    GRID,
    LOW_RESOLUTION,
    PATCH,
    PRESETS,
    TOKENS,
    VARIANTS,
    RethinedConfig,
    Variant,
    preset_config,
)
from rethined_export.models.rethined.initialise import untrained
from rethined_export.models.rethined.mobileone import reparameterise
from rethined_export.models.rethined.model import Inpainted, Rethined

__all__ = [
    "GRID",
    "LOW_RESOLUTION",
    "PATCH",
    "PRESETS",
    "TOKENS",
    "VARIANTS",
    "Checkpoint",
    "CheckpointError",
    "Inpainted",
    "Rethined",
    "RethinedConfig",
    "Variant",
    "load_checkpoint",
    "preset_config",
    "reparameterise",
    "untrained",
]
