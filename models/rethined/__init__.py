"""RETHINED (WACV 2025): reference model, presets, checkpoints."""

from rethined_export.models.rethined.config import (
    AUTHORS,
    DIALECTS,
    GRID,
    LOW_RESOLUTION,
    PATCH,
    PRESETS,
    TOKENS,
    VARIANTS,
    Dialect,
    RethinedConfig,
    Variant,
    preset_config,
)
from rethined_export.models.rethined.derive import (
    NETWORKS,
    CheckpointError,
    Derived,
    Network,
    from_tensors,
)
from rethined_export.models.rethined.initialise import untrained
from rethined_export.models.rethined.mobileone import reparameterise
from rethined_export.models.rethined.model import Rethined
from rethined_export.models.rethined.reference import Inpainted, Inpainter

__all__ = [
    "AUTHORS",
    "DIALECTS",
    "GRID",
    "LOW_RESOLUTION",
    "NETWORKS",
    "PATCH",
    "PRESETS",
    "TOKENS",
    "VARIANTS",
    "CheckpointError",
    "Derived",
    "Dialect",
    "Inpainted",
    "Inpainter",
    "Network",
    "Rethined",
    "RethinedConfig",
    "Variant",
    "from_tensors",
    "preset_config",
    "reparameterise",
    "untrained",
]
