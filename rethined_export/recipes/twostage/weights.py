"""The weights of both networks: two published files, or one that holds both."""

import re
from pathlib import Path

from torch import nn

from rethined_export.checkpoints import Checkpoint, CheckpointError, combined, fit, read, strip
from rethined_export.errors import UserError
from rethined_export.models.twostage import TwoStageInpainter, TwoStageNetworks
from rethined_export.recipes.types import Reference, Source

_COUNTERS = re.compile(r"\.num_batches_tracked$")
#: What each network is to the user, and the name of the published file.
_STAGES = {
    "coarse": ("stage one, DFNet", "model_places2.pth"),
    "refine": ("stage two, the refinement", "refinement.pth"),
}


def loaded(networks: TwoStageNetworks, source: Source) -> Reference:
    """Both networks with their weights, found by the names of their tensors in any of the files.

    Raises:
        UserError: a file cannot be read, holds neither network, or one network is in none.
    """
    if source.key is not None and source.others:
        raise UserError(
            "--checkpoint-key is a place in one --checkpoint with both networks; drop it, or give "
            "one file"
        )
    try:
        found = {name: _holding(network, source) for name, network in networks.named_children()}
        _check(found, source)
        lines: list[str] = []
        for name, network in networks.named_children():
            checkpoint = found[name]
            assert checkpoint is not None
            lines += [f"{_STAGES[name][0]}: {line}" for line in _load(network, checkpoint)]
    except CheckpointError as error:
        raise UserError(str(error)) from error
    files = {c.path: c.sha256 for c in found.values() if c is not None}
    networks.eval().requires_grad_(False)
    return Reference(
        TwoStageInpainter(networks).eval(),
        " + ".join(path.name for path in files),
        combined(files.values()),
        tuple(lines),
    )


def _holding(network: nn.Module, source: Source) -> Checkpoint | None:
    """The file with most of a network's tensors; None where none has any."""
    wanted = frozenset(network.state_dict())
    best, most = None, 0
    for path in source.files:
        checkpoint = read(path, source.key, wanted.__contains__)
        prefix = strip(checkpoint.tensors, wanted)
        count = sum(prefix + name in checkpoint.tensors for name in wanted)
        if count > most:
            best, most = checkpoint, count
    return best


def _check(found: dict[str, Checkpoint | None], source: Source) -> None:
    """Both are there, and no file for nothing.

    Raises:
        UserError: saying which is missing, and how to give both.
    """
    both = " ".join(f"--checkpoint {name}" for _, name in _STAGES.values())
    names = " and ".join(path.name for path in source.files)
    missing = [name for name, checkpoint in found.items() if checkpoint is None]
    if len(missing) == len(found):
        raise UserError(f"{names}: neither network's weights are there; give {both}")
    if missing:
        there = next(name for name in found if name not in missing)
        raise UserError(
            f"{names}: only the weights of {_STAGES[there][0]}, are there, those of "
            f"{_STAGES[missing[0]][0]}, are missing; give both: {both}"
        )
    used = {checkpoint.path for checkpoint in found.values() if checkpoint is not None}
    spare: list[Path] = [path for path in source.files if path not in used]
    if spare:
        raise UserError(
            f"{spare[0].name} holds no weights that are needed beside those of "
            f"{', '.join(sorted(path.name for path in used))}; drop it"
        )


def _load(network: nn.Module, checkpoint: Checkpoint) -> tuple[str, ...]:
    """Fill a network; what was chosen, in words."""
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    fitted = fit(checkpoint, wanted, optional=_COUNTERS)
    network.load_state_dict(fitted.tensors, strict=False)
    return fitted.lines
