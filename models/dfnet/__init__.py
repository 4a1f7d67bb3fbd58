"""DFNet (ACM MM 2019): a U-Net whose decoder blends into the photo at six scales."""

from rethined_export.models.dfnet.config import PRESETS, STAND_IN_GAIN, STRIDE, DfNetConfig
from rethined_export.models.dfnet.inpainter import DfNetInpainter, native_input
from rethined_export.models.dfnet.model import DfNet, Fused, Fusion

__all__ = [
    "PRESETS",
    "STAND_IN_GAIN",
    "STRIDE",
    "DfNet",
    "DfNetConfig",
    "DfNetInpainter",
    "Fused",
    "Fusion",
    "native_input",
]
