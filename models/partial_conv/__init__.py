"""Partial convolutions (ECCV 2018): a U-Net that looks at known pixels only, and its presets."""

from rethined_export.models.partial_conv.config import PRESETS, PartialConvConfig
from rethined_export.models.partial_conv.inpainter import MEAN, STD, Inpainter
from rethined_export.models.partial_conv.layers import PartialConv
from rethined_export.models.partial_conv.model import (
    Layer,
    PartialConvNet,
    constant_keys,
    reached,
    seed_stand_in,
)

__all__ = [
    "MEAN",
    "PRESETS",
    "STD",
    "Inpainter",
    "Layer",
    "PartialConv",
    "PartialConvConfig",
    "PartialConvNet",
    "constant_keys",
    "reached",
    "seed_stand_in",
]
