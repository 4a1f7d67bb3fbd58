"""How much of a copied patch each pixel of the hole takes. Not in the paper.

Beside known pixels the coarse model tells details better than a patch from elsewhere does; deep in
the hole it has none. So the hole takes them from the coarse model at its edge and from patches
within, where they are raised by what attention's errors cost: the best patch for a blurred query is
on the whole smoother than what is missing.
"""

from torch import Tensor

from rethined_export.models.rethined.filters import gaussian_blur

#: What copied details are multiplied with.
GAIN = 1.125
#: How steeply they set in: at a straight edge within three pixels.
STEEPNESS = 4.0


def blend(mask: Tensor) -> Tensor:
    """``a = m · max(0, 1 − 4·gauss(1 − m))``, ``[B, 1, 512, 512]`` in and out, in [0, 1]."""
    return mask * (1 - STEEPNESS * (1 - gaussian_blur(mask))).clamp(min=0)
