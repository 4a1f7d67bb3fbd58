"""Load a checkpoint without running code in it, and say what does not fit.

Accepted: safetensors, and ``.pth`` files of plain tensors, bare or under ``model_state_dict`` or
``state_dict``, with ``module.`` or ``_orig_mod.`` before the keys, in the published key names.
"""

import hashlib
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from rethined_export.models.rethined.config import AUTHORS, Dialect
from rethined_export.models.rethined.derive import CheckpointError, Network, from_tensors
from rethined_export.models.rethined.reference import Inpainter

_WRAPPERS = ("model_state_dict", "state_dict")
_PREFIX = re.compile(r"^(module\.|_orig_mod\.)+")


@dataclass(frozen=True)
class Checkpoint:
    """A model in eval mode with its weights loaded.

    Attributes:
        model: float32, not re-parameterised unless the file was.
        sha256: hash of the file's bytes.
        derived: what was read off the weights because it differs from the preset, one line each.
        notes: what the file does not tell, and was taken as asked or as the authors have it.
    """

    model: Inpainter
    sha256: str
    derived: tuple[str, ...]
    notes: tuple[str, ...]


def load_checkpoint(
    path: Path, preset: str, variant: Network, dialect: Dialect = AUTHORS
) -> Checkpoint:
    """Read a checkpoint and build the model its shapes call for.

    Raises:
        CheckpointError: unreadable, holding code, of another model, or with NaN or Inf in it.
    """
    data = _read(path)
    found, settings = _contents(path, data)
    raw = {_PREFIX.sub("", str(key)): value for key, value in found.items()}
    tensors = {key: value for key, value in raw.items() if isinstance(value, Tensor)}
    try:
        made = from_tensors(tensors, preset, variant, dialect, settings)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return Checkpoint(made.model, hashlib.sha256(data).hexdigest(), made.derived, made.notes)


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"cannot read checkpoint {path}: {error.strerror}; check the name and the folder"
        ) from error
    if not data:
        raise CheckpointError(f"checkpoint {path} is empty (0 bytes); copy or download it again")
    return data


def _contents(path: Path, data: bytes) -> tuple[Mapping[str, object], Mapping[str, object] | None]:
    """The file's mapping of weights, and its config; torch files may hold no code."""
    if path.suffix == ".safetensors":
        try:
            return load_safetensors(data), None
        except SafetensorError as error:
            raise CheckpointError(f"{path} is not a safetensors file: {error}") from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than plain tensors and was not loaded, since a pickle can run "
            "code; save model.state_dict() alone, or convert it to safetensors"
        ) from error
    except Exception as error:  # the unpickler meets damaged bytes with errors of any type
        raise CheckpointError(f"{path} is not a torch checkpoint or is truncated") from error
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"{path} holds a {type(loaded).__name__}, not a state dict")
    settings = loaded.get("config")
    for wrapper in _WRAPPERS:
        inner = loaded.get(wrapper)
        if isinstance(inner, Mapping):
            return inner, settings if isinstance(settings, Mapping) else None
    return loaded, None
