"""Weights that 8 bits hold: rounded layer by layer, each making up for what was lost before it.

int8 stores the weights that make one channel as whole steps, 127 of which are the largest of them.
Weights that lie there are stored without loss. Rounded to the nearest, every layer by itself, they
move the painted image three times as far as they do here (docs/training.md): what rounding a weight
takes from a layer's result, weights beside it that are not yet rounded give back as far as they can
(GPTQ, Frantar et al., ICLR 2023), and the bias gives back the mean.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.rethined.coarse import SeparableUp
from rethined_export.models.rethined.model import Rethined
from rethined_export.models.rethined.training.samples import Batch

#: Steps on one side of zero.
STEPS = 127
#: Added to the inputs' second moments, as a share of their mean: few images do not know them.
_DAMPING = 0.01
_LEAST = 1e-12


@torch.no_grad()
def to_eight_bits(model: Rethined, batches: Iterable[Batch]) -> None:
    """Round the coarse model's weights, in place; what it paints stays as it is, nearly.

    Args:
        model: re-parameterised, in eval mode. batches: images and holes like those to be filled.
    """
    seen = list(batches)
    coarse = model.coarse_model
    parts = _read_in_parts(model)
    means = _mean_results(model, seen)
    for name in means:  # in order of execution
        layer = coarse.get_submodule(name)
        assert isinstance(layer, nn.Conv2d) and layer.bias is not None
        mean, moments = _inputs(layer, model, seen)
        kernel = layer.weight.double().reshape(layer.groups, -1, mean.shape[1])
        made = rounded(kernel, moments, steps(kernel, parts.get(name, kernel.shape[2])))
        layer.weight.copy_(made.reshape(layer.weight.shape))
        layer.bias.copy_(means[name] - torch.einsum("goi,gi->go", made, mean).flatten())


def steps(kernel: Tensor, first: int) -> Tensor:
    """Size of a step for every weight, of kernels ``[G, O, I]``.

    Args:
        first: inputs of the first part, where programs split a layer in two; I where they do not.
    """
    sizes = [
        part.abs().amax(2, keepdim=True).clamp(min=_LEAST).expand_as(part)
        for part in kernel.tensor_split([first], dim=2)
        if part.shape[2]
    ]
    return torch.cat(sizes, dim=2) / STEPS


def rounded(kernel: Tensor, moments: Tensor, step: Tensor) -> Tensor:
    """Kernels of whole steps whose results are near those of the given ones.

    Args:
        kernel: ``[G, O, I]``, of G groups, float64.
        moments: of what it is applied to, ``Σ x xᵀ``, ``[G, I, I]``.
        step: ``[G, O, I]``.
    """
    inputs = moments.shape[-1]
    damping = _DAMPING * moments.diagonal(dim1=1, dim2=2).mean(1).clamp(min=_LEAST)
    damped = moments + damping[:, None, None] * torch.eye(inputs, dtype=moments.dtype)
    upper = torch.linalg.cholesky(torch.linalg.inv(damped), upper=True)
    left, made = kernel.clone(), torch.empty_like(kernel)
    for i in range(inputs):
        count = (left[..., i] / step[..., i]).round().clamp(-STEPS, STEPS)
        made[..., i] = count * step[..., i]
        lost = (left[..., i] - made[..., i]) / upper[:, i, i, None]
        left[..., i + 1 :] -= lost[..., None] * upper[:, None, i, i + 1 :]
    return made


def _read_in_parts(model: Rethined) -> dict[str, int]:
    """Layers that exported programs split by their inputs, and how many belong to the first."""
    return {
        f"{name}.pointwise.reparam_conv": layer.reduce.reparam_conv.out_channels
        for name, layer in model.coarse_model.named_modules()
        if isinstance(layer, SeparableUp)
    }


def _paint(model: Rethined, seen: list[Batch]) -> None:
    """Run the coarse model, for what watches its layers."""
    for batch in seen:
        model.coarse_model(batch.image * (1 - batch.mask), batch.mask)


def _mean_results(model: Rethined, seen: list[Batch]) -> dict[str, Tensor]:
    """Mean of each convolution's result over images and places ``[O]``, in order of execution."""
    found: dict[str, list[Tensor]] = {}
    watching = [
        layer.register_forward_hook(
            lambda _, __, out, name=name: found.setdefault(name, []).append(
                out.double().mean((0, 2, 3))
            )
        )
        for name, layer in model.coarse_model.named_modules()
        if isinstance(layer, nn.Conv2d)
    ]
    _paint(model, seen)
    for one in watching:
        one.remove()
    return {name: torch.stack(means).mean(0) for name, means in found.items()}


def _inputs(layer: nn.Conv2d, model: Rethined, seen: list[Batch]) -> tuple[Tensor, Tensor]:
    """Mean ``[G, I]`` and second moments ``[G, I, I]`` of what a layer's kernels are applied to."""
    means: list[Tensor] = []
    moments: list[Tensor] = []

    def note(_: nn.Module, given: tuple[Tensor]) -> None:
        (side,), (stride,), (margin,) = {*layer.kernel_size}, {*layer.stride}, {*layer.padding}
        places = F.unfold(given[0], side, padding=margin, stride=stride).transpose(0, 1)
        places = places.reshape(layer.groups, -1, places.shape[1] * places.shape[2]).double()
        means.append(places.mean(2))
        moments.append(places @ places.mT / places.shape[2])

    watching = layer.register_forward_pre_hook(note)
    _paint(model, seen)
    watching.remove()
    return torch.stack(means).mean(0), torch.stack(moments).mean(0)
