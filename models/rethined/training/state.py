"""Checkpoints of a run: everything it takes to go on to the same numbers, in safetensors."""

import dataclasses
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rethined_export.models.rethined.mobileone import reparameterise
from rethined_export.models.rethined.model import Rethined
from rethined_export.models.rethined.training.settings import Settings, TrainingError

CHECKPOINT, WEIGHTS = "checkpoint.safetensors", "weights.safetensors"


def save_state(
    path: Path, model: Rethined, optimiser: torch.optim.Optimizer, step: int, run: dict[str, str]
) -> None:
    """Write a checkpoint in place of the last one, which survives if this one cannot be written.

    Args:
        step: steps done. run: what a resumed run must share.

    Raises:
        TrainingError: no room, or no permission.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": tensor for name, tensor in state.items()}
    _write(path, tensors, run | {"step": str(step)})


def load_state(path: Path, model: Rethined, run: dict[str, str]) -> tuple[int, dict[str, Tensor]]:
    """Load a checkpoint's weights into the model.

    Returns:
        Steps done, and the optimiser's tensors by name.

    Raises:
        TrainingError: unreadable, or of another run; the message says what differs.
    """
    try:
        with safe_open(path, "pt") as file:
            found = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"cannot resume from {path}: {error}") from error
    differing = [
        f"{name} was {found.get(name)} and is {value}"
        for name, value in run.items()
        if found.get(name) != value
    ]
    if differing:
        raise TrainingError(
            f"{path} comes from other settings: {'; '.join(differing)}; "
            "train with the same, or start anew in another folder"
        )
    start = "model."
    model.load_state_dict(
        {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}
    )
    rest = {name: tensor for name, tensor in tensors.items() if not name.startswith(start)}
    return int(found["step"]), rest


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what :func:`load_state` returned; nothing is put back from an empty mapping."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        _, number, entry = name.split(".")
        state.setdefault(int(number), {})[entry] = tensor
    optimiser.load_state_dict(optimiser.state_dict() | {"state": state})


def described(settings: Settings, images: str) -> dict[str, str]:
    """What two parts of one run share, as text: every setting, and the images."""
    fields = dataclasses.asdict(settings)
    return {name: json.dumps(value) for name, value in fields.items()} | {"trained_on": images}


def save_weights(path: Path, model: Rethined) -> None:
    """Re-parameterise the model, in place, and write its weights in half precision."""
    reparameterise(model)
    tensors = {
        name: tensor.half()
        for name, tensor in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    _write(path, tensors, {"preset": model.config.preset, "variant": model.config.variant})


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write beside the file, then rename: a reader sees the old one or the new one, whole."""
    half = path.with_name(path.name + ".tmp")
    data = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, metadata)
    try:
        with half.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise TrainingError(f"cannot write {path}: {error.strerror}; the last one stays") from error
