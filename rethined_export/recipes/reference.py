"""References that recipes make alike."""

import hashlib
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from rethined_export.recipes.types import UNTRAINED, Reference, Source


def untrained_reference(model: nn.Module) -> Reference:
    """A seeded stand-in, in eval mode, known by its tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    return Reference(model.eval().requires_grad_(False), UNTRAINED, digest.hexdigest())


def loaded_reference(model: nn.Module, network: nn.Module, source: Source) -> Reference:
    """A network of fixed shapes with a checkpoint's weights, in eval mode.

    Args:
        model: what the reference is called as; holds the network.
        network: the part of it that the checkpoint's tensors are named after.

    Raises:
        UserError: the checkpoint cannot be read, or does not fit.
    """
    network.load_state_dict(load_file(source.path))
    digest = hashlib.sha256(Path(source.path).read_bytes()).hexdigest()
    return Reference(model.eval().requires_grad_(False), source.path.name, digest)
