"""What every reference model of RETHINED and its copies gives, whatever it is made of."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from rethined_export.models.rethined.config import LOW_RESOLUTION


@dataclass(frozen=True)
class Inpainted:
    """What a reference computes.

    Attributes:
        output: inpainted image ``[1, 3, H, W]``, near [0, 1] (copied texture may overshoot).
        low: inpainted low-resolution image ``[1, 3, 512, 512]`` (x̂_LR).
        coarse: the coarse model's image ``[1, 3, 512, 512]``.
        scores: biased attention scores ``[N, N]``, before any clamp.
        hole: token flags ``[N]``, 1 where the token is to be filled.
        indices: keys used by each query ``[N, k]``; None for dense attention.
    """

    output: Tensor
    low: Tensor
    coarse: Tensor
    scores: Tensor
    hole: Tensor
    indices: Tensor | None


class Inpainter(nn.Module, ABC):
    """A network that fills the hole of a square image.

    It runs in the precision of its weights: ``copy.deepcopy(model).double()`` with images in
    float64 measures what float32 adds.
    """

    @abstractmethod
    def forward(
        self,
        image: Tensor,
        mask: Tensor,
        top_k: int | None = None,
        indices: Tensor | None = None,
    ) -> Inpainted:
        """Fill the hole.

        Args:
            image: y, RGB, ``[1, 3, H, H]`` in [0, 1]; H is 512·s for a whole number s.
            mask: m, ``[1, 1, H, H]``, 1 in the hole and 0 elsewhere.
            top_k: keep this many keys of each query; None is what the network's own code does.
            indices: ``[N, k]`` keys to use instead (for comparing runtimes on equal choices).

        Raises:
            ValueError: the side is not a multiple of 512.
        """


def whole_scale(image: Tensor, mask: Tensor) -> int:
    """s of an image and mask of side 512·s.

    Raises:
        ValueError: not square, not equal, or no multiple of 512.
    """
    scale, rest = divmod(image.shape[-1], LOW_RESOLUTION)
    if rest or image.shape[-2] != image.shape[-1] or mask.shape[-2:] != image.shape[-2:]:
        raise ValueError(
            f"image {tuple(image.shape)} and mask {tuple(mask.shape)} must be square, equal "
            f"and a multiple of {LOW_RESOLUTION}"
        )
    return scale
