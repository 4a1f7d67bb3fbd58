"""The context encoder as a function of an image and a mask."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.context_encoder.config import CENTRE, OVERLAP, SIDE

#: What the hole is filled with, red, green and blue of 255.
FILL = (117, 104, 123)
_MARGIN = (SIDE - CENTRE) // 2


def _blank() -> Tensor:
    """1 where the network is never shown the image, ``[1, 1, 128, 128]``."""
    inner = torch.ones(1, 1, CENTRE - 2 * OVERLAP, CENTRE - 2 * OVERLAP)
    return F.pad(inner, [_MARGIN + OVERLAP] * 4)


def in_centre(mask: Tensor) -> bool:
    """Whether a hole ``[B, 1, 128, 128]`` lies where the network paints."""
    outside = mask.clone()
    outside[:, :, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = 0
    return not bool(outside.any())


def native_input(image: Tensor, mask: Tensor, blank: Tensor | None = None) -> Tensor:
    """What the network takes: RGB in [-1, 1], ``[B, 3, 128, 128]``, constants in its hole.

    The centre is blank as it was in training, however little of it is to be filled, and so is a
    hole in the band around it.

    Args:
        image: RGB in [0, 1]. mask: ``[B, 1, 128, 128]``, 1 = hole, 0 = known.
        blank: see :func:`_blank`; default: made anew.
    """
    hidden = torch.maximum(mask, _blank() if blank is None else blank)
    fill = torch.tensor(FILL).reshape(1, 3, 1, 1) * 2 / 255 - 1
    return (2 * image - 1) * (1 - hidden) + fill * hidden


def composite(raw: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """What was painted, ``[B, 3, 64, 64]``, in the hole, in [0, 1]; the rest exactly as it came."""
    painted = F.pad(raw * 0.5 + 0.5, [_MARGIN] * 4)
    return image * (1 - mask) + painted * mask


class Inpainter(nn.Module):
    """Network with its input made from, and its output set into, an image.

    Args:
        network: as :class:`~rethined_export.models.context_encoder.ContextEncoder` is called.
    """

    blank: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("blank", _blank(), persistent=False)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the hole.

        Args:
            image: RGB ``[B, 3, 128, 128]`` in [0, 1]; what lies in the hole does not matter.
            mask: ``[B, 1, 128, 128]``, 1 = hole, 0 = known; a hole outside the centre of 64×64
                is black.

        Returns:
            RGB ``[B, 3, 128, 128]`` in [0, 1].
        """
        return composite(self.network(native_input(image, mask, self.blank)), image, mask)
