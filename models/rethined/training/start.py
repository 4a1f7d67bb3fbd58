"""What a run starts from: a network that adds nothing to its fill, or weights that are deployed."""

import dataclasses
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from rethined_export.models.rethined.mobileone import MobileOneBlock
from rethined_export.models.rethined.model import Rethined
from rethined_export.models.rethined.training.samples import Batch
from rethined_export.models.rethined.training.settings import Settings

#: Share of a block's convolutions beside its identity, and shifts that keep a batch-normed signal
#: (deviation 1) mostly on the linear side of its ReLU.
_BESIDE, _SHIFT_IDENTITY, _SHIFT_ALONE = 0.4, 1.0, 0.5
#: Deviation of a channel that says nothing: a batch's noise would be all that a norm magnifies.
_DEAD = 1e-6
#: Ends of the names of what is set and not learned.
_SET = ("attention.closeness", "generator.gain")


def new_model(settings: Settings) -> Rethined:
    """The model of a run before its first step.

    With batch norm as it comes, forty layers of ReLU scramble the image: the network then took
    thousands of steps before it beat the plain fill. Nearly linear ones gain from step 200 on.
    """
    torch.manual_seed(settings.seed)
    model = Rethined(settings.config)
    for block in model.modules():
        if isinstance(block, MobileOneBlock):
            _pass_through(block)
    if settings.start == "push-pull":
        nn.init.zeros_(model.coarse_model.d0.weight)
        assert model.coarse_model.d0.bias is not None
        nn.init.zeros_(model.coarse_model.d0.bias)
    return model


def _pass_through(block: MobileOneBlock) -> None:
    alone = block.rbr_skip is None
    for branch in block.branches():
        nn.init.constant_(branch.bn.weight, 1 if alone else _BESIDE)
        nn.init.constant_(branch.bn.bias, _SHIFT_ALONE if alone else 0)
    if block.rbr_scale is not None:
        nn.init.constant_(block.rbr_scale.bn.weight, _BESIDE)
    if block.rbr_skip is not None:
        nn.init.constant_(block.rbr_skip.bias, _SHIFT_IDENTITY)


def unfold(model: Rethined, weights: dict[str, Tensor], batches: Iterable[Batch]) -> None:
    """Take in re-parameterised weights as branches that learn like those they were folded from.

    A folded convolution gives ``w·x + b``. With μ and σ, mean and deviation of ``w·x`` over some
    images, so does a branch of ``w/σ`` whose norm multiplies by σ and adds ``μ + b``; branches
    beside it start at zero.

    Args:
        model: takes them, in place. weights: of the same network, by name, as deployed.
        batches: images and holes like those it is going to see.

    Raises:
        RuntimeError: the weights are another network's.
    """
    deployed = Rethined(dataclasses.replace(model.config, deployed=True)).eval()
    given = {name: tensor.float() for name, tensor in weights.items()}
    deployed.load_state_dict(given | not_learned(model))
    moments = _moments(deployed, batches)
    folded = deployed.state_dict()
    own = model.state_dict()
    model.load_state_dict({name: folded.get(name, tensor) for name, tensor in own.items()})
    for name, block in model.named_modules():
        if isinstance(block, MobileOneBlock):
            kernel, bias = (folded[f"{name}.reparam_conv.{part}"] for part in ("weight", "bias"))
            _as_branches(block, kernel, bias, *moments[name])


def not_learned(module: nn.Module) -> dict[str, Tensor]:
    """What stays as it is where weights of another run come in, by name."""
    return {name: t for name, t in module.state_dict().items() if name.endswith(_SET)}


@torch.no_grad()
def _moments(deployed: Rethined, batches: Iterable[Batch]) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and deviation of every block's convolution without its bias, each ``[C]``."""
    seen: dict[str, list[Tensor]] = {}

    def note(name: str, conv: nn.Conv2d, out: Tensor) -> None:
        assert conv.bias is not None
        shares = (out - conv.bias[:, None, None]).double().transpose(0, 1).flatten(1)
        seen.setdefault(name, []).append(torch.stack([shares.mean(1), shares.square().mean(1)]))

    for name, block in deployed.named_modules():
        if isinstance(block, MobileOneBlock):
            block.reparam_conv.register_forward_hook(
                lambda conv, _, out, name=name: note(name, conv, out)
            )
    for batch in batches:
        deployed.coarse_model(batch.image * (1 - batch.mask), batch.mask)
    found = {}
    for name, parts in seen.items():
        mean, squared = torch.stack(parts).mean(0)
        # A channel that is always the same has no deviation; its weights are left as they are.
        deviation = (squared - mean**2).clamp(min=0).sqrt()
        found[name] = mean.float(), torch.where(deviation > _DEAD, deviation, 1.0).float()
    return found


@torch.no_grad()
def _as_branches(
    block: MobileOneBlock, kernel: Tensor, bias: Tensor, mean: Tensor, deviation: Tensor
) -> None:
    first, *others = block.branches()
    first.conv.weight.copy_(kernel / deviation[:, None, None, None])
    assert first.bn.running_mean is not None and first.bn.running_var is not None
    first.bn.running_mean.copy_(mean / deviation)
    first.bn.running_var.fill_(1 - first.bn.eps)
    first.bn.weight.copy_(deviation)
    first.bn.bias.copy_(mean + bias)
    silent = [branch.bn for branch in others]
    if block.rbr_scale is not None:
        silent.append(block.rbr_scale.bn)
    if block.rbr_skip is not None:
        silent.append(block.rbr_skip)
    for norm in silent:
        nn.init.zeros_(norm.weight)
        nn.init.zeros_(norm.bias)
