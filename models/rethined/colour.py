"""Black-and-white photos stay so, though they are stored as RGB."""

from torch import Tensor
from torch.nn import functional as F

from rethined_export.models.rethined.config import PATCH

#: Mean colour of known pixels that is none, and that is enough: a quarter and three quarters of a
#: level of 8 bits. What JPEG leaves in a grey photo is less, what a colour photo has is far more.
NONE, ENOUGH = 0.001, 0.003
#: Known share of an image that its colour can be told from.
_LEAST_KNOWN = 1e-4


def as_colourful(painted: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    """Take the colour from what is painted where the known pixels have none.

    Colour is the mean difference of a pixel's channels from their mean, of averages over 8×8
    pixels, which leave out noise.

    Args:
        painted: added to a fill of the known pixels' colours, ``[B, 3, H, H]``.
        x: the image, zero in the hole ``[B, 3, H, H]``.
        mask: 1 = hole, ``[B, 1, H, H]``.
    """
    tokens = F.avg_pool2d(x, PATCH)
    colour = (tokens - tokens.mean(1, keepdim=True)).abs().mean((1, 2, 3), keepdim=True)
    # What is known of each token first: exact in float16, as one less a mean of all is not.
    known = (1 - F.avg_pool2d(mask, PATCH)).mean((1, 2, 3), keepdim=True).clamp(min=_LEAST_KNOWN)
    kept = ((colour / known - NONE) / (ENOUGH - NONE)).clamp(0, 1)
    grey = painted.mean(1, keepdim=True)
    return grey + kept * (painted - grey)
