"""References that recipes make alike."""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping

from torch import nn

from rethined_export.checkpoints import Checkpoint, CheckpointError, fit, read
from rethined_export.errors import UserError
from rethined_export.recipes.types import UNTRAINED, Reference, Source

Shape = tuple[int, ...]
#: Counters that batch norm keeps while it is trained.
COUNTERS = re.compile(r"\.num_batches_tracked$")


def untrained_reference(model: nn.Module) -> Reference:
    """A seeded stand-in, in eval mode, known by its tensors."""
    return Reference(model.eval().requires_grad_(False), UNTRAINED, hash_tensors(model))


def hash_tensors(model: nn.Module) -> str:
    """sha256 of every parameter and buffer, with their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _as_it_is(checkpoint: Checkpoint, _wanted: Mapping[str, Shape]) -> Checkpoint:
    return checkpoint


def _no_advice(_names: Collection[str]) -> str:
    return ""


def loaded_reference(
    model: nn.Module,
    network: nn.Module,
    source: Source,
    *,
    optional: re.Pattern[str] = COUNTERS,
    advise: Callable[[Collection[str]], str] = _no_advice,
    adapt: Callable[[Checkpoint, Mapping[str, Shape]], Checkpoint] = _as_it_is,
) -> Reference:
    """A network of fixed shapes with a checkpoint's weights, in eval mode.

    Args:
        model: what the reference is called as; holds the network.
        network: the part of it that the checkpoint's tensors are named after.
        optional: finds names of tensors that may be missing, or be too many.
        advise: of a checkpoint that does not fit, by its tensors' names, the end of the message.
        adapt: makes of a checkpoint, and the shapes wanted, one with tensors in torch's order.

    Raises:
        UserError: the checkpoint cannot be read, or does not fit.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    try:
        checkpoint = adapt(read(source.path, source.key, wanted.__contains__), wanted)
    except CheckpointError as error:
        raise UserError(str(error)) from error
    try:
        fitted = fit(checkpoint, wanted, optional=optional)
    except CheckpointError as error:
        raise UserError(f"{error}{advise(checkpoint.tensors.keys())}") from error
    network.load_state_dict(fitted.tensors, strict=False)
    model.eval().requires_grad_(False)
    return Reference(model, source.path.name, checkpoint.sha256, fitted.lines)
