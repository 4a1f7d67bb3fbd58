"""Layers of a torch graph, seen as what they have in common: kernels that are laid on places."""

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.nn import functional as F


@dataclass(frozen=True)
class Layer:
    """Kernels of G groups, O of each, and how they are laid on what the layer is given.

    Attributes:
        kernels: a view of the weights, ``[G, O, C, h, w]``.
        bias: ``[G · O]``, or None.
        spread: of what the layer is given, the ``[N, G · C, H, W]`` that kernels are laid on; of
            one image alone, ``[G · C, H, W]``.
        strides: from one place to the next, along y and x.
        taps: where a kernel's rows and columns lie from its place.
    """

    kernels: Tensor
    bias: Tensor | None
    spread: Callable[[Tensor], Tensor]
    strides: Sequence[int]
    taps: tuple[Tensor, Tensor]

    def places(self, given: Tensor, channels: slice, count: int) -> Tensor:
        """What some channels of kernels see at no more than so many places, always the same.

        Returns:
            ``[P, h, w, G, C]``.
        """
        laid = self.spread(given)
        groups, _, each = self.kernels.shape[:3]
        laid = laid.reshape(-1, groups, each, *laid.shape[-2:])[:, :, channels]
        rows, columns = (
            (size - 1 - int(taps.max())) // stride + 1
            for size, taps, stride in zip(laid.shape[3:], self.taps, self.strides, strict=True)
        )
        total = laid.shape[0] * rows * columns
        if total > count:
            chosen = torch.randint(total, [count], generator=torch.Generator().manual_seed(0))
        else:
            chosen = torch.arange(total)
        image, place = chosen // (rows * columns), chosen % (rows * columns)
        # Channels last, so that what is fetched lies together.
        seen: Tensor = laid.permute(0, 3, 4, 1, 2).contiguous()[
            image[:, None, None],
            (place // columns * self.strides[0])[:, None, None] + self.taps[0][:, None],
            (place % columns * self.strides[1])[:, None, None] + self.taps[1],
        ]
        return seen


def layers_of(graph: GraphModule) -> Iterator[tuple[Node, Layer]]:
    """Convolutions, transposed ones and linear layers whose weights are parameters, in order."""
    parameters = dict(graph.named_parameters(remove_duplicate=False))
    for node in graph.graph.nodes:
        make = _KINDS.get(node.target)
        if make is None or getattr(node.args[1], "target", None) not in parameters:
            continue
        bias = node.args[2] if len(node.args) > 2 else None
        stored = None if bias is None else operator.attrgetter(bias.target)(graph)
        yield node, make(parameters[node.args[1].target], stored, *node.args[3:])


def _linear(weight: Tensor, bias: Tensor | None) -> Layer:
    """A kernel of one place, laid on rows."""

    def spread(x: Tensor) -> Tensor:
        return x.reshape(-1, x.shape[-1], 1, 1)

    return Layer(weight[None, :, :, None, None], bias, spread, (1, 1), _taps((1, 1), (1, 1)))


def _convolution(
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Layer:
    def spread(x: Tensor) -> Tensor:
        return F.pad(x, [padding[1], padding[1], padding[0], padding[0]])

    kernels = weight.view(groups, -1, *weight.shape[1:])
    return Layer(kernels, bias, spread, stride, _taps(weight.shape[2:], dilation))


def _transposed(
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    output_padding: Sequence[int] = (0, 0),
    groups: int = 1,
    dilation: Sequence[int] = (1, 1),
) -> Layer:
    """A convolution, its kernel turned round, of the input with zeros between its pixels."""
    reach = [d * (size - 1) for d, size in zip(dilation, weight.shape[2:], strict=True)]

    def spread(x: Tensor) -> Tensor:
        height, width = ((size - 1) * s + 1 for size, s in zip(x.shape[-2:], stride, strict=True))
        apart = x.new_zeros(*x.shape[:-2], height, width)
        apart[..., :: stride[0], :: stride[1]] = x
        top, left = (far - p for far, p in zip(reach, padding, strict=True))
        return F.pad(apart, [left, left + output_padding[1], top, top + output_padding[0]])

    kernels = weight.view(groups, -1, *weight.shape[1:]).transpose(1, 2)
    rows, columns = _taps(weight.shape[2:], dilation)
    return Layer(kernels, bias, spread, (1, 1), (rows.flip(0), columns.flip(0)))


def _taps(size: Sequence[int], dilation: Sequence[int]) -> tuple[Tensor, Tensor]:
    return torch.arange(size[0]) * dilation[0], torch.arange(size[1]) * dilation[1]


_KINDS: dict[Any, Callable[..., Layer]] = {
    torch.ops.aten.conv2d.default: _convolution,
    torch.ops.aten.conv_transpose2d.input: _transposed,
    torch.ops.aten.linear.default: _linear,
}
