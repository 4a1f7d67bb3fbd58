"""The coarse image's details give way to copied ones, as ``models.rethined.blend`` tells."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined.blend import STEEPNESS
from rethined_export.models.rethined.filters import BLUR_SIDE, gaussian_taps

_HALO = BLUR_SIDE // 2


class Blend(nn.Module):
    """Twin of what the reference does to its low-resolution image, gain and shares.

    Args:
        gain: what copied details are multiplied with; None: a pixel of the hole takes copied
            details as they are, and only these.

    The mask is blurred twice side by side: of one channel alone ONNX Runtime makes sixteen, and
    the low program takes up to a tenth longer.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, gain: float | None) -> None:
        super().__init__()
        self.gain = gain
        if gain is not None:
            taps = gaussian_taps().float()
            self.register_buffer("rows", -STEEPNESS * taps.reshape(1, 1, -1, 1).repeat(2, 1, 1, 1))
            self.register_buffer("columns", taps.reshape(1, 1, 1, -1).repeat(2, 1, 1, 1))

    def shares(self, mask: Tensor) -> Tensor:
        """How much of copied details each pixel takes, for m_LR; ``[1, 1, 512, 512]`` each."""
        if self.gain is None:
            return mask
        known = 1 - mask
        tall = F.conv2d(torch.cat([known, known], 1), self.rows, padding=(_HALO, 0), groups=2)
        kept = F.conv2d(tall, self.columns, padding=(0, _HALO), groups=2)
        return mask * (1 + kept[:, :1]).clamp(min=0)

    def forward(self, image: Tensor, details: Tensor, copied: Tensor, shares: Tensor) -> Tensor:
        """``x_c + a ⊙ (g·A F − F)`` of an image, its own details, copied ones and shares."""
        raised = copied if self.gain is None else self.gain * copied
        return image + shares * (raised - details)
