"""Fit a checkpoint's tensors to the names and shapes a network has."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rethined_export.checkpoints.errors import CheckpointError, few, shown
from rethined_export.checkpoints.mappings import (
    is_average,
    is_other_network,
    is_training_state,
    tails,
)
from rethined_export.checkpoints.reading import Checkpoint
from rethined_export.checkpoints.shards import lone_shard

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Fitted:
    """Weights ready for ``load_state_dict``.

    Attributes:
        tensors: float32, contiguous and finite, by the network's names.
        prefix: what stood before each name, with its dot; "" for nothing.
        ignored: how many tensors belong to something else, by the first part of their names.
        lines: what was chosen, converted and ignored, for the manifest.
    """

    tensors: dict[str, Tensor]
    prefix: str
    ignored: dict[str, int]
    lines: tuple[str, ...]


def strip(keys: Iterable[str], known: Callable[[str], bool] | Collection[str]) -> str:
    """The prefix, with its dot, behind which most names are known; "" where none is.

    Args:
        known: the network's names, or a function that tells whether a name is one of them.
    """
    is_known = known if callable(known) else set(known).__contains__
    counts: Counter[str] = Counter()
    for key in keys:
        for tail in tails(key):
            if is_known(tail):
                counts[key[: len(key) - len(tail)]] += 1
    return min(counts, key=lambda prefix: (-counts[prefix], len(prefix), prefix), default="")


def fit(
    checkpoint: Checkpoint,
    wanted: Mapping[str, Shape],
    *,
    optional: re.Pattern[str] | None = None,
) -> Fitted:
    """Take the tensors of a network from a checkpoint.

    Args:
        wanted: shape of each tensor by its name in the network's state dict.
        optional: finds names that may be missing, or be there without being wanted; where they
            hold whole numbers (counters of batches) they are left out.

    Raises:
        CheckpointError: tensors are missing, have another shape, are not wanted though they
            stand among the network's, are not of a float type, or hold NaN or Inf in float32.
    """

    def may_miss(name: str) -> bool:
        return optional is not None and optional.search(name) is not None

    prefix, rivals = _prefix(checkpoint.tensors, wanted)
    inside = {
        name[len(prefix) :]: tensor
        for name, tensor in checkpoint.tensors.items()
        if name.startswith(prefix)
    }
    found = {
        name: tensor
        for name, tensor in inside.items()
        if name in wanted and (_is_weight(tensor) or not may_miss(name))
    }
    members = {name.partition(".")[0] for name in wanted}
    ignored = Counter(
        _member(name, prefix) for name in checkpoint.tensors if not name.startswith(prefix)
    )
    unexpected = []
    for name in inside.keys() - wanted.keys():
        first = name.partition(".")[0]
        foreign = is_other_network(first) or is_training_state(first)
        if first not in members and foreign:
            ignored[shown(prefix + first)] += 1
        elif not may_miss(name):
            unexpected.append(name)
    missing = [name for name in wanted if name not in inside and not may_miss(name)]
    _check(checkpoint, wanted, found, missing, sorted(unexpected))
    tensors = {name: tensor.float().contiguous() for name, tensor in found.items()}
    _check_finite(checkpoint, tensors, found)
    lines = _lines(checkpoint, prefix, rivals, found, ignored)
    return Fitted(tensors, prefix, dict(ignored), tuple(lines))


def _prefix(tensors: Mapping[str, Tensor], wanted: Mapping[str, Shape]) -> tuple[str, list[str]]:
    """The prefix that fits most shapes, then most names, and others that fit as many."""
    named: Counter[str] = Counter()
    shaped: Counter[str] = Counter()
    for key, tensor in tensors.items():
        for tail in tails(key):
            if tail in wanted:
                prefix = key[: len(key) - len(tail)]
                named[prefix] += 1
                shaped[prefix] += tuple(tensor.shape) == tuple(wanted[tail])
    ranked = sorted(
        named, key=lambda p: (-shaped[p], -named[p], not is_average(p.rstrip(".")), len(p), p)
    )
    if not ranked:
        return "", []
    best = ranked[0]
    return best, [p for p in ranked[1:] if (shaped[p], named[p]) == (shaped[best], named[best])]


def _member(name: str, prefix: str) -> str:
    """A name up to the first part in which it leaves the prefix."""
    parts = []
    for part, other in zip(name.split("."), [*prefix.split("."), ""], strict=False):
        parts.append(part)
        if part != other:
            break
    return shown(".".join(parts))


def _is_weight(tensor: Tensor) -> bool:
    return tensor.is_floating_point()


def _check(
    checkpoint: Checkpoint,
    wanted: Mapping[str, Shape],
    found: Mapping[str, Tensor],
    missing: list[str],
    unexpected: list[str],
) -> None:
    """Refuse what does not fit, all of it in one line, a few names of each kind."""
    problems = []
    if missing and not found:
        names = few(list(checkpoint.tensors), 3)
        problems.append(f"none of its {len(wanted)} tensors is there; the file has {names}")
    elif missing:
        problems.append(
            f"{len(missing)} of {len(wanted)} tensors are missing, first {few(missing)}"
        )
    if unexpected and found:
        problems.append(f"{len(unexpected)} are not the network's, first {few(unexpected)}")
    misshapen = [
        f"{name} is {tuple(tensor.shape)}, not {tuple(wanted[name])}"
        for name, tensor in found.items()
        if tuple(tensor.shape) != tuple(wanted[name])
    ]
    if misshapen:
        problems.append(f"{len(misshapen)} have another shape, first {few(misshapen)}")
    numbers = [f"{name} ({_type(t)})" for name, t in found.items() if not _is_weight(t)]
    if numbers:
        problems.append(f"{len(numbers)} are not of a float type, first {few(numbers)}")
    if problems:
        raise CheckpointError(
            f"{checkpoint.path} does not fit this network: {'; '.join(problems)}{_hint(checkpoint)}"
        )


def _hint(checkpoint: Checkpoint) -> str:
    """Where the right weights may be instead."""
    if shard := lone_shard(checkpoint.path):
        return f"; {shard}"
    if checkpoint.others:
        places = few(list(checkpoint.others))
        return f"; it was read at {shown(checkpoint.at) or 'the top'}, other places are {places}"
    return ""


def _check_finite(
    checkpoint: Checkpoint, tensors: Mapping[str, Tensor], before: Mapping[str, Tensor]
) -> None:
    bad = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if not bad:
        return
    if bool(torch.isfinite(before[bad[0]].to(torch.float64)).all()):
        why = "hold values beyond float32's range"
    else:
        why = "hold NaN or Inf; the training diverged"
    raise CheckpointError(
        f"{checkpoint.path}: {len(bad)} of {len(tensors)} tensors {why} (first {few(bad)}); "
        "give an earlier checkpoint"
    )


def _lines(
    checkpoint: Checkpoint,
    prefix: str,
    rivals: list[str],
    found: Mapping[str, Tensor],
    ignored: Mapping[str, int],
) -> list[str]:
    """What was chosen, in words; nothing where the file holds the network's tensors alone."""
    lines = [f"a {checkpoint.container} file"]
    if checkpoint.at:
        lines.append(f"weights at {shown(checkpoint.at)}")
    if prefix:
        lines.append(f"prefix {shown(prefix)} stripped")
    if rivals:
        lines.append(f"as many tensors fit behind {few([p or 'no prefix' for p in rivals])}")
    types = Counter(_type(tensor) for tensor in found.values())
    if set(types) - {"float32"}:
        lines.append(f"converted to float32: {_counts(types)}")
    every = Counter(checkpoint.ignored) + Counter(ignored)
    if every:
        lines.append(f"ignored {sum(every.values())} tensors: {_counts(every)}")
    return [*lines, *checkpoint.notes]


def _counts(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return few([f"{name} {count}" for name, count in ordered], 6)


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
