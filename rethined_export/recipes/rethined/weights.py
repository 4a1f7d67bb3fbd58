"""Where a reference model's weights come from: a checkpoint, the shipped ones, or a stand-in."""

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
from rethined_export.models.weights import shipped

UNTRAINED = "untrained"


@dataclass(frozen=True)
class Weights:
    """A reference model in eval mode and where it came from.

    Attributes:
        model: float32.
        name: the file's name, or ``untrained``.
        sha256: of the file's bytes, or of the untrained tensors.
        derived: what was read off a user's checkpoint because it differs from the preset.
    """

    model: Rethined
    name: str
    sha256: str
    derived: tuple[str, ...]


def load_weights(checkpoint: Path | None, preset: str, variant: Variant) -> Weights:
    """Load a checkpoint; with none the shipped weights, or where none are shipped untrained ones.

    Raises:
        UserError: the checkpoint cannot be used; the message says why.
    """
    path = checkpoint or shipped(preset, variant)
    if path is None:
        model = untrained(preset_config(preset, variant))
        return Weights(model, UNTRAINED, _hash(model), ())
    try:
        loaded = load_checkpoint(path, preset, variant)
    except CheckpointError as error:
        raise UserError(str(error)) from error
    derived = loaded.derived if checkpoint else ()
    return Weights(loaded.model, path.name, loaded.sha256, derived)


def _hash(model: Rethined) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
