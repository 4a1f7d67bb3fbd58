"""DFNet's presets: one network, trained on two sets of photos at two sizes."""

import math
from dataclasses import dataclass

from rethined_export.models.dfnet.unet import STRIDE as STRIDE


@dataclass(frozen=True)
class DfNetConfig:
    """What differs between published weights.

    Attributes:
        preset: its name. side: of the squares it was trained on; it takes any multiple of 256.
    """

    preset: str
    side: int


PRESETS: dict[str, DfNetConfig] = {
    "places2": DfNetConfig("places2", side=512),
    "celeba": DfNetConfig("celeba", side=256),
}

#: Of the kernels, where weights that follow from the tensors' names stand in for trained ones.
STAND_IN_GAIN = math.sqrt(2)
