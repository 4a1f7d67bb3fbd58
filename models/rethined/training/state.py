"""Checkpoints of a run: everything it takes to go on to the same numbers, in safetensors."""

import dataclasses
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from rethined_export.models.rethined.model import Rethined
from rethined_export.models.rethined.training.samples import Batch
from rethined_export.models.rethined.training.settings import Settings, TrainingError
from rethined_export.models.rethined.training.start import not_learned, unfold

#: What a run's folder holds: two files, and two folders.
CHECKPOINT, WEIGHTS = "checkpoint.safetensors", "weights.safetensors"
SAMPLES, CURVES = "samples", "tensorboard"


def save_state(
    path: Path,
    modules: dict[str, nn.Module],
    optimisers: dict[str, torch.optim.Optimizer],
    step: int,
    run: dict[str, str],
) -> None:
    """Write a checkpoint in place of the last one, which survives if this one cannot be written.

    Args:
        modules, optimisers: by name. step: steps done. run: what a resumed run must share.

    Raises:
        TrainingError: no room, or no permission.
    """
    tensors: dict[str, Tensor] = {}
    for part, module in modules.items():
        tensors |= {f"{part}.{name}": tensor for name, tensor in module.state_dict().items()}
    for part, optimiser in optimisers.items():
        for number, state in optimiser.state_dict()["state"].items():
            tensors |= {f"{part}.{number}.{name}": tensor for name, tensor in state.items()}
    _write(path, tensors, run | {"step": str(step)})


def load_state(
    path: Path, modules: dict[str, nn.Module], settings: Settings, run: dict[str, str]
) -> tuple[int, dict[str, Tensor]]:
    """Load a checkpoint's weights into the modules. Stages that it had not begun may differ.

    Returns:
        Steps done, and the optimisers' tensors by name.

    Raises:
        TrainingError: unreadable, or of another run; the message says what differs.
    """
    found, tensors = _read(path, "resume from")
    done = int(found.get("step", 0))
    differing = [
        f"{name} was {found.get(name)} and is {value}"
        for name, value in run.items()
        if found.get(name) != value
        and not (name == "stages" and _same_begun(found.get(name), value, settings, done))
    ]
    if differing:
        raise TrainingError(
            f"{path} comes from other settings: {'; '.join(differing)}; "
            "train with the same, or start anew in another folder"
        )
    for part, module in modules.items():
        mine = _part(tensors, part)
        if mine or part != "critic":  # a critic that only a later, changed stage brings is new
            module.load_state_dict(mine)
    return done, {name: tensor for name, tensor in tensors.items() if "optimiser." in name}


def load_start(
    path: Path, modules: dict[str, nn.Module], batches: Callable[[], Iterable[Batch]]
) -> None:
    """Begin with what another run ended with: its mean weights if it kept one, and its critic; or
    with re-parameterised weights.

    How much surroundings count is set, not learned: the modules keep theirs.

    Args:
        batches: images like those that are going to be seen.

    Raises:
        TrainingError: unreadable, or of a network of another shape.
    """
    _, tensors = _read(path, "start from")
    weights = any(".reparam_conv." in name for name in tensors)
    part = "model"
    try:
        if weights:
            first = modules[part]
            assert isinstance(first, Rethined)
            unfold(first, tensors, batches())
            tensors = {f"model.{name}": tensor for name, tensor in first.state_dict().items()}
        for part, module in modules.items():
            found = _begun(tensors, part)
            if not found and part != "critic":
                raise TrainingError(
                    f"cannot start from {path}: it is neither a checkpoint of rethined-train nor "
                    "re-parameterised weights"
                )
            if found:
                module.load_state_dict(found | not_learned(module))
    except RuntimeError as error:
        raise TrainingError(
            f"cannot start from {path}: its {part} has another shape ({_first(error)})"
        ) from error


def _begun(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """What a module of a new run begins with."""
    sources = [part] if part == "critic" else ["average", "model"]
    return next((mine for name in sources if (mine := _part(tensors, name))), {})


def _read(path: Path, purpose: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """A checkpoint's metadata and tensors."""
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"cannot {purpose} {path}: {error}") from error


def _part(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """A module's own tensors."""
    return {n.removeprefix(f"{part}."): t for n, t in tensors.items() if n.startswith(f"{part}.")}


def _first(error: RuntimeError) -> str:
    """What torch says is wrong first, of a list that may be long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[1] if len(lines) > 1 else lines[0]


def _same_begun(found: str | None, now: str, settings: Settings, done: int) -> bool:
    """Whether two lists of stages agree up to the last one that has begun."""
    begun, first = 0, 0
    for stage in settings.stages:
        begun += first < done
        first += stage.steps
    return found is not None and json.loads(found)[:begun] == json.loads(now)[:begun]


def load_optimiser(optimiser: torch.optim.Optimizer, part: str, tensors: dict[str, Tensor]) -> None:
    """Put back what :func:`load_state` returned of one optimiser."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(f"{part}."):
            number, entry = name.removeprefix(f"{part}.").split(".")
            state.setdefault(int(number), {})[entry] = tensor
    optimiser.load_state_dict(optimiser.state_dict() | {"state": state})


def described(settings: Settings, images: str) -> dict[str, str]:
    """What two parts of one run share, as text: every setting, and the images."""
    fields = dataclasses.asdict(settings)
    return {name: json.dumps(value) for name, value in fields.items()} | {"trained_on": images}


def save_weights(path: Path, model: Rethined) -> None:
    """Write a re-parameterised model's weights in half precision."""
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
