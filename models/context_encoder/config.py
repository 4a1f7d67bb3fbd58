"""Shapes of the context encoder, and which part of its square it paints."""

import math
from dataclasses import dataclass

#: Pixels of the image's side, and of the side of the centre that is painted.
SIDE, CENTRE = 128, 64
#: Pixels along the centre's border that are known in training, and painted too.
OVERLAP = 4


@dataclass(frozen=True)
class ContextEncoderConfig:
    """Everything that decides the shapes of the weights.

    Attributes:
        preset: name of the preset this started from.
        width: channels of the first layer. bottleneck: numbers that the image becomes.
    """

    preset: str
    width: int = 64
    bottleneck: int = 4000


PRESETS: dict[str, ContextEncoderConfig] = {"centre": ContextEncoderConfig("centre")}

#: Of the kernels, where weights that follow from the tensors' names stand in for trained ones.
STAND_IN_GAIN = math.sqrt(2)
