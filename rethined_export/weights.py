"""Where a reference model's weights come from: a checkpoint, or the untrained stand-in."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from rethined_export.errors import UserError
from rethined_export.models.rethined import (
    CheckpointError,
    Rethined,
    Variant,
    load_checkpoint,
    preset_config,
    untrained,
)

UNTRAINED = "untrained"


@dataclass(frozen=True)
class Weights:
    """A reference model in eval mode and where it came from.

    Attributes:
        model: float32.
        name: the checkpoint's file name, or ``untrained``.
        sha256: of the checkpoint's bytes, or of the untrained tensors.
        derived: what was read off the weights because it differs from the preset.
    """

    model: Rethined
    name: str
    sha256: str
    derived: tuple[str, ...]


def load_weights(checkpoint: Path | None, preset: str, variant: Variant) -> Weights:
    """Load a checkpoint, or build the untrained model when there is none.

    Raises:
        UserError: the checkpoint cannot be used; the message says why.
    """
    if checkpoint is None:
        model = untrained(preset_config(preset, variant))
        return Weights(model, UNTRAINED, _hash(model), ())
    try:
        loaded = load_checkpoint(checkpoint, preset, variant)
    except CheckpointError as error:
        raise UserError(str(error)) from error
    return Weights(loaded.model, checkpoint.name, loaded.sha256, loaded.derived)


def _hash(model: Rethined) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
