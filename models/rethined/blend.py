"""How much of a copied patch each pixel of the hole takes. Not in the paper.

Beside known pixels the coarse model tells details better than a patch from elsewhere does; deep in
the hole it has none. So the hole takes them from the coarse model at its edge and from patches
within, where they are raised by what attention's errors cost: the best patch for a blurred query is
on the whole smoother than what is missing.
"""

from torch import Tensor
from torch.nn import functional as F

from rethined_export.models.rethined.filters import BLUR_SIDE, gaussian_blur

#: What copied details are multiplied with.
GAIN = 1.125
#: How steeply they set in: at a straight edge within three pixels.
STEEPNESS = 4.0
_HALO = BLUR_SIDE // 2


def blend(mask: Tensor) -> Tensor:
    """``a = m · max(0, 1 − 4·gauss(1 − m))``; beyond the border nothing is known.

    Args:
        mask: m_LR ``[B, 1, H, W]``, 1 = hole.

    Returns:
        The same shape, in [0, 1]; 0 where the mask is.
    """
    framed = F.pad(1 - mask, [_HALO] * 4)  # what the blur reflects there is cut off again
    known = gaussian_blur(framed)[..., _HALO:-_HALO, _HALO:-_HALO]
    return mask * (1 - STEEPNESS * known).clamp(min=0)
