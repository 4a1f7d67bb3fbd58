"""The partial convolution network as it is exported: the mask is one channel throughout.

All channels of a map are known at the same places, so that a window's known taps are counted once,
not by a second convolution as large as the first. Batch norms and the number of a window's taps go
into the weights, whose size is then that of an ordinary convolution's.
"""

import torch
from torch import Tensor, nn

from rethined_export.models.partial_conv import Layer, PartialConv, PartialConvNet
from rethined_export.models.partial_conv.model import doubled
from rethined_export.rewrite.box import BoxSum


def rewritten(model: PartialConvNet) -> "RewrittenNet":
    """Twin of the network.

    Args:
        model: in eval mode; it is not changed.

    Raises:
        ValueError: its kernels of ones are not ones, so that it counts something else.
    """
    return RewrittenNet(model).eval().requires_grad_(False)


class RewrittenNet(nn.Module):
    """Image ``[1, 3, H, W]`` and known ``[1, 1, H, W]`` to image and what was reached."""

    def __init__(self, model: PartialConvNet) -> None:
        super().__init__()
        layers = range(1, model.config.layers + 1)

        def twins(half: str) -> nn.ModuleList:
            return nn.ModuleList(_FoldedLayer(model.get_submodule(f"{half}_{i}")) for i in layers)

        self.encoder, self.decoder = twins("enc"), twins("dec")

    def forward(self, image: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        x, skips = image * known, []
        for layer in self.encoder:
            skips.append((x, known))
            x, known = layer(x, x.shape[1] * known)
        for layer in reversed(self.decoder):
            skip, skip_known = skips.pop()
            # Exact: whole numbers, far below 2²⁴ even after the sum over a window.
            weighted = x.shape[1] * doubled(known) + skip.shape[1] * skip_known
            x, known = layer(torch.cat([doubled(x), skip], dim=1), weighted)
        return x, known


class _FoldedLayer(nn.Module):
    """Twin of :class:`Layer`, but 0 wherever nothing was known, as the next layer takes it.

    Raises:
        ValueError: see :func:`rewritten`.
    """

    shift: Tensor | None

    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        assert isinstance(plain, Layer)
        ones = plain.conv.mask_conv
        if not torch.all(ones.weight == 1):
            raise ValueError("a kernel that counts known pixels does not hold ones")
        self.taps, self.activate = plain.conv.taps, plain.activate
        self.count = BoxSum(ones.kernel_size[0], ones.stride[0])
        self.conv, shift = _folded(plain.conv, plain.bn)
        self.register_buffer("shift", None if shift is None else shift.reshape(1, -1, 1, 1))

    def forward(self, x: Tensor, weighted: Tensor) -> tuple[Tensor, Tensor]:
        """``weighted`` is how many channels are known at each place, ``[1, 1, h, w]``."""
        count = self.count(weighted)
        found = (count > 0).to(x.dtype)
        x = self.conv(x) * (found * self.taps / (count + (1 - found)))
        if self.shift is not None:
            x = x + self.shift
        return self.activate(x) * found, found


def _folded(conv: PartialConv, norm: nn.BatchNorm2d | None) -> tuple[nn.Conv2d, Tensor | None]:
    """The mean over a whole window as a convolution, and what is added to it."""
    plain = conv.input_conv
    scale, shift = torch.ones(plain.out_channels), plain.bias
    if norm is not None:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        shift = norm.bias - norm.running_mean * scale
    made = nn.Conv2d(
        plain.in_channels,
        plain.out_channels,
        plain.kernel_size[0],
        plain.stride[0],
        plain.padding[0],
        bias=False,
    )
    made.weight = nn.Parameter(plain.weight * scale.reshape(-1, 1, 1, 1) / conv.taps)
    return made, shift
