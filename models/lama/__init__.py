"""LaMa (WACV 2022): reference models and their presets."""

from rethined_export.models.lama.config import PRESETS, LamaConfig
from rethined_export.models.lama.fourier import (
    FourierBlock,
    FourierConvolution,
    FourierLayer,
    FourierUnit,
    Paths,
    SpectralTransform,
)
from rethined_export.models.lama.model import Inpainter, Lama
from rethined_export.models.lama.residual import MultiDilatedConvolution, ResidualBlock

__all__ = [
    "PRESETS",
    "FourierBlock",
    "FourierConvolution",
    "FourierLayer",
    "FourierUnit",
    "Inpainter",
    "Lama",
    "LamaConfig",
    "MultiDilatedConvolution",
    "Paths",
    "ResidualBlock",
    "SpectralTransform",
]
