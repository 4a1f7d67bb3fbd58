"""RETHINED's weights from a file: the shapes of the network are read off them."""

from dataclasses import dataclass
from pathlib import Path

from rethined_export.checkpoints import CheckpointError, read, strip
from rethined_export.models.rethined import AUTHORS, Dialect, Inpainter, Network
from rethined_export.models.rethined import CheckpointError as UnfitError
from rethined_export.models.rethined.derive import from_tensors

#: How names of each kind of network begin.
_MEMBERS = ("coarse_model.", "generator.", "inpainter.", "hr_upscaler.")


@dataclass(frozen=True)
class Loaded:
    """A model in eval mode with its weights loaded.

    Attributes:
        model: float32, not re-parameterised unless the file was.
        sha256: hash of the file's bytes.
        derived: what was read off the weights because it differs from the preset, and how the file
            was read, one line each.
        notes: what the file does not tell, and was taken as asked or as the authors have it.
    """

    model: Inpainter
    sha256: str
    derived: tuple[str, ...]
    notes: tuple[str, ...]


def load_checkpoint(
    path: Path, preset: str, variant: Network, dialect: Dialect = AUTHORS, key: str | None = None
) -> Loaded:
    """Read a checkpoint and build the model its shapes call for.

    Args:
        key: place of the weights in the file; None: found.

    Raises:
        CheckpointError: unreadable, of another model, or with NaN or Inf in it.
    """
    found = read(path, key, is_ours)
    prefix = strip(found.tensors, is_ours)
    tensors = {
        name.removeprefix(prefix): tensor
        for name, tensor in found.tensors.items()
        if name.startswith(prefix)
    }
    try:
        made = from_tensors(tensors, preset, variant, dialect, found.settings or None)
    except UnfitError as error:
        raise CheckpointError(f"{path}: {error}") from error
    places = [f"weights at {found.at}"] if found.at else []
    places += [f"prefix {prefix} stripped"] if prefix else []
    return Loaded(made.model, found.sha256, (*places, *made.derived), (*found.notes, *made.notes))


def is_ours(name: str) -> bool:
    """Whether a tensor's name begins as those of a RETHINED network do."""
    return name.startswith(_MEMBERS)
