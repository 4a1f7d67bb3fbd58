"""References that recipes make alike."""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping

from torch import nn

from rethined_export.checkpoints import CheckpointError, describe, fit, read
from rethined_export.errors import UserError
from rethined_export.recipes.types import UNTRAINED, Reference, Source

#: Counters that batch norm keeps while it is trained.
_COUNTERS = re.compile(r"\.num_batches_tracked$")


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


def loaded_reference(model: nn.Module, network: nn.Module, source: Source) -> Reference:
    """A network of fixed shapes with a checkpoint's weights, in eval mode.

    Args:
        model: what the reference is called as; holds the network.
        network: the part of it that the checkpoint's tensors are named after.

    Raises:
        UserError: the checkpoint cannot be read, or does not fit.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    try:
        checkpoint = read(source.path, source.key, wanted.__contains__)
        fitted = fit(checkpoint, wanted, optional=_COUNTERS)
    except CheckpointError as error:
        raise UserError(str(error)) from error
    network.load_state_dict(fitted.tensors, strict=False)
    model.eval().requires_grad_(False)
    return Reference(model, source.path.name, checkpoint.sha256, fitted.lines)


def preset_of(source: Source, keys: Mapping[str, frozenset[str]]) -> str | None:
    """The preset all of whose tensors a checkpoint names, whatever stands before; None: no one's.

    Args:
        keys: names of each preset's tensors.
    """

    def holds(wanted: frozenset[str]) -> Callable[[Collection[str]], float]:
        return lambda names: float(wanted <= set(names))

    presets = {preset: holds(wanted) for preset, wanted in keys.items()}
    try:
        found = describe(source.path, source.key, presets).guess
    except CheckpointError:
        return None
    return found.model if found else None
