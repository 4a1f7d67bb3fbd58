"""The coarse image's details give way to copied ones, as ``models.rethined.blend`` tells."""

from torch import Tensor, nn

from rethined_export.models.rethined.blend import STEEPNESS
from rethined_export.rewrite.blur import SeparableBlur


class Blend(nn.Module):
    """Twin of what the reference does to its low-resolution image, gain and shares.

    Args:
        gain: what copied details are multiplied with; None: a pixel of the hole takes copied
            details as they are, and only these.
    """

    def __init__(self, gain: float | None) -> None:
        super().__init__()
        self.gain = gain
        if gain is not None:
            self.blur = SeparableBlur(channels=1)

    def shares(self, mask: Tensor) -> Tensor:
        """How much of copied details each pixel takes, for m_LR; ``[1, 1, 512, 512]`` each."""
        if self.gain is None:
            return mask
        return mask * (STEEPNESS * self.blur(mask) + (1 - STEEPNESS)).clamp(min=0)

    def forward(self, image: Tensor, details: Tensor, copied: Tensor, shares: Tensor) -> Tensor:
        """``x_c + a ⊙ (g·A F − F)`` of an image, its own details, copied ones and shares."""
        raised = copied if self.gain is None else self.gain * copied
        return image + shares * (raised - details)
