"""Weights on the values that are stored: rounded one by one, each making up for those before it.

8 bits store the weights that make one channel as whole steps, 127 of which are the largest of them;
a palette stores each of a tensor's as one of a few values. What rounding a weight takes from a
layer's result, weights beside it that are not yet rounded give back as far as the second moments of
the layer's inputs let them (GPTQ, Frantar et al., ICLR 2023), and the bias gives back the mean. The
quantisers of all targets then find every weight where they would put it.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from rethined_export.converters.reducing.palette import FEW_WEIGHTS, nearest_levels
from rethined_export.converters.types import Array, Program
from rethined_export.reduction.layers import Layer, layers_of

#: Steps on one side of zero.
STEPS = 127
#: Added to the inputs' second moments, as a share of their mean: few photos do not know them.
_DAMPING = 0.01
_LEAST = 1e-12
#: Places at which a layer's inputs are looked at, of all photos together.
_PLACES = 8192
#: Inputs that make up for one another. More are taken in parts, since cost grows with the square.
_TOGETHER = 1152
#: Weights between two updates of all behind them.
_BLOCK = 64

#: The value that is stored for each weight ``[G, O]`` of a place along the inputs.
Nearest = Callable[[Tensor, int], Tensor]


@torch.no_grad()
def round_weights(program: Program, samples: Iterable[dict[str, Array]], palette: int = 0) -> None:
    """Round the weights of convolutions and linear layers, in place, to the values that are stored.

    In order of execution, so that each layer is fitted to what the rounded ones before it give.
    Weights that are computed from others are left alone; those that layers share are fitted to the
    first, after which they lie on steps and stay.

    Args:
        program: its module's parameters change.
        samples: inputs like those that it will be given; all are held in memory.
        palette: bits of a place in a tensor's palette; 0: stored are steps of 8 bits.
    """
    exported = torch.export.export(program.module, tuple(program.inputs.values()))
    graph = exported.module(check_guards=False)
    layers = dict(layers_of(graph))
    runs = [_Run(graph, [sample[name] for name in program.inputs]) for sample in samples]
    left = len(layers)
    for node in graph.graph.nodes:
        if not left:  # what follows the last layer is not needed
            return
        if node in layers:
            given = [run.env[node.all_input_nodes[0]] for run in runs]
            round_layer(layers[node], given, palette)
            left -= 1
        for run in runs:
            run.step(node)


def round_layer(layer: Layer, given: Sequence[Tensor], palette: int = 0) -> None:
    """Round one layer's weights, in place, by what it is given in each run.

    A layer that is given what is no number is left alone, and one that stores no palette.
    """
    if palette and layer.kernels.numel() <= FEW_WEIGHTS:
        return
    _, _, channels, *size = layer.kernels.shape
    values = _stored(layer.kernels, palette)
    together = max(_TOGETHER // (size[0] * size[1]), 1)
    for first in range(0, channels, together):
        part = slice(first, first + together)
        seen = [layer.places(x, part, -(-_PLACES // len(given))) for x in given]
        inputs = torch.cat(seen).permute(3, 0, 1, 2, 4).flatten(2)
        kernels = layer.kernels[:, :, part].permute(0, 1, 3, 4, 2)
        before, moments = kernels.double().flatten(2), (inputs.mT @ inputs).double()
        if not (moments.isfinite().all() and before.isfinite().all()):
            continue
        made = rounded(before, moments, values(before))
        if layer.bias is not None:
            lost = (before - made) @ inputs.double().mean(1)[..., None]
            layer.bias.add_(lost.flatten())
        kernels.copy_(made.reshape(kernels.shape))


def steps(kernels: Tensor) -> Tensor:
    """Size of a step for each of kernels ``[G, O, I]``: ``[G, O, 1]``."""
    return kernels.abs().amax(2, keepdim=True).clamp(min=_LEAST) / STEPS


def on_steps(step: Tensor, kernels: Tensor) -> Nearest:
    """Whole steps; the largest of a kernel keep their 127, so that the step can be told from them.

    Args:
        step: ``[G, O, 1]``. kernels: ``[G, O, I]``, as they were.
    """
    counts = kernels / step
    ends = torch.where(counts.abs() > STEPS - 1e-6, counts.sign() * STEPS, 0.0)

    def nearest(weights: Tensor, place: int) -> Tensor:
        whole = (weights / step[..., 0]).round().clamp(-STEPS, STEPS)
        return torch.where(ends[..., place] != 0, ends[..., place], whole) * step[..., 0]

    return nearest


def on_levels(levels: Tensor) -> Nearest:
    """The nearest of a palette's ascending levels."""
    edges = (levels[1:] + levels[:-1]) / 2
    return lambda weights, place: levels[torch.bucketize(weights.contiguous(), edges)]


def _stored(kernels: Tensor, palette: int) -> Callable[[Tensor], Nearest]:
    """For a part of a layer's kernels, what is stored for them."""
    if not palette:
        return partial(on_steps, steps(kernels.double().flatten(2)))
    levels, _ = nearest_levels(palette, kernels.detach().numpy())
    found = on_levels(torch.as_tensor(levels).double())
    return lambda part: found


def rounded(kernels: Tensor, moments: Tensor, nearest: Nearest) -> Tensor:
    """Kernels of stored values whose results are near those of the given ones.

    Args:
        kernels: ``[G, O, I]``, of G groups, float64.
        moments: of what they are applied to, ``Σ x xᵀ``, ``[G, I, I]``.
    """
    damping = _DAMPING * moments.diagonal(dim1=1, dim2=2).mean(1).clamp(min=_LEAST)
    damped = moments + damping[:, None, None] * torch.eye(moments.shape[-1], dtype=moments.dtype)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    upper = torch.linalg.cholesky(inverse, upper=True)
    made = kernels.clone()
    for first in range(0, made.shape[2], _BLOCK):
        last = min(first + _BLOCK, made.shape[2])
        lost = torch.zeros_like(made[..., first:last])
        for i in range(first, last):
            value = nearest(made[..., i], i)
            apart = (made[..., i] - value) / upper[:, i, i, None]
            made[..., i] = value
            made[..., i + 1 : last] -= apart[..., None] * upper[:, None, i, i + 1 : last]
            lost[..., i - first] = apart
        made[..., last:] -= lost @ upper[:, first:last, last:]
    return made


class _Run(Interpreter):
    """One sample's way through the graph, a node at a time."""

    def __init__(self, graph: GraphModule, inputs: Iterable[Array]) -> None:
        super().__init__(graph)
        self.args_iter = iter([torch.as_tensor(value) for value in inputs])

    def step(self, node: Node) -> None:
        """Compute one value, then drop those that no later node reads."""
        self.env[node] = self.run_node(node)
        for one in self.user_to_last_uses.get(node, []):
            del self.env[one]
