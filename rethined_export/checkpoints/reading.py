"""Read a checkpoint as people have it, and choose the weights in it."""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from rethined_export.checkpoints.contents import Candidate, Contents
from rethined_export.checkpoints.errors import CheckpointError, DamageError, damaged, few, shown
from rethined_export.checkpoints.kinds import container, open_file
from rethined_export.checkpoints.mappings import (
    choose,
    is_other_network,
    is_training_state,
    named_by,
)
from rethined_export.checkpoints.safe import read_safetensors
from rethined_export.checkpoints.shards import join, lone_shard, weight_map
from rethined_export.checkpoints.stored import Stored, load_all
from rethined_export.checkpoints.torchfile import read_pickle, read_zip

_READERS: dict[str, Callable[[Path, BinaryIO, int], Contents]] = {
    "safetensors": read_safetensors,
    "zip": read_zip,
    "pickle": read_pickle,
}


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a file.

    Attributes:
        path: as it was given.
        sha256: of the file's bytes; for shards, of the index and then each shard by name.
        container: what kind of file, such as ``safetensors``, ``torch zip``, ``torch legacy``,
            ``TorchScript archive``.
        at: dotted place of the mapping that was chosen; "" for the top.
        tensors: on the CPU, as stored; they may share storage and have any strides.
        others: places of other mappings that could have been meant; ``key`` takes one of them.
        ignored: how many tensors of training state and of other networks were left, by place.
        metadata: text that a safetensors file carries.
        settings: plain values that a training run left beside the weights, under ``config``.
        notes: what should be said to the user, one line each.
    """

    path: Path
    sha256: str
    container: str
    at: str
    tensors: dict[str, Tensor]
    others: tuple[str, ...]
    ignored: dict[str, int]
    metadata: dict[str, str]
    settings: dict[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """The mapping taken from an opened file; fields as in :class:`Checkpoint`."""

    at: str
    tensors: dict[str, Stored]
    others: tuple[str, ...]
    ignored: dict[str, int]
    notes: tuple[str, ...]


def read(
    path: Path, key: str | None = None, known: Callable[[str], bool] | None = None
) -> Checkpoint:
    """Read a checkpoint's weights; no code in it is run, and nothing it names is imported.

    Args:
        key: dotted place of the mapping that is meant, or of the part of one whose names start
            so; without it, the most likely is taken and the choice is said in the notes.
        known: whether a name, without what stands before it, is of the network that is wanted;
            where several mappings could be meant, the one with more such names is taken.

    Raises:
        CheckpointError: no checkpoint, or one that cannot be used; one line that says why.
    """
    with opened(path) as (contents, sha256):
        choice = chosen(path, contents, key, known)
        try:
            tensors = load_all(choice.tensors, contents.size)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
    return Checkpoint(
        path, sha256, contents.container, choice.at, tensors, choice.others, choice.ignored,
        contents.metadata, contents.settings, choice.notes,
    )  # fmt: skip


def digest(path: Path) -> str:
    """sha256 of a checkpoint's bytes, as :attr:`Checkpoint.sha256`.

    Raises:
        CheckpointError: no checkpoint.
    """
    with opened(path) as (_, sha256):
        return sha256


def combined(digests: Collection[str]) -> str:
    """One sha256 for the files of several networks, in whatever order they were given."""
    different = sorted(set(digests))
    if len(different) == 1:
        return different[0]
    return hashlib.sha256("".join(different).encode()).hexdigest()


@contextmanager
def opened(path: Path) -> Iterator[tuple[Contents, str]]:
    """A file's contents and hash; its tensors can be loaded until it is closed.

    Raises:
        CheckpointError: as :func:`read`, also for damage that shows while it is open.
    """
    with ExitStack() as stack:
        digest = hashlib.sha256()
        try:
            yield _contents(path, stack, digest.update), digest.hexdigest()
        except DamageError as error:
            raise damaged(path, error) from error
        except OSError as error:
            raise CheckpointError(
                f"cannot read checkpoint {path}: {error.strerror or error}; check the disk"
            ) from error
        except (MemoryError, RecursionError) as error:
            raise damaged(path, "it asks for more memory than there is") from error


def _contents(path: Path, stack: ExitStack, update: Callable[[bytes], None]) -> Contents:
    file, size = open_file(path)
    stack.enter_context(file)
    _hash(file, update)
    kind = container(path, file, size)
    if kind == "index":
        places = weight_map(path, file, size)
        return join(path, places, lambda shard: _shard(shard, stack, update))
    return _READERS[kind](path, file, size)


def _shard(path: Path, stack: ExitStack, update: Callable[[bytes], None]) -> Contents:
    file, size = open_file(path)
    stack.enter_context(file)
    _hash(file, update)
    kind = container(path, file, size)
    if kind == "index":
        raise CheckpointError(f"{path} is an index of shards where a shard should be")
    try:
        return _READERS[kind](path, file, size)
    except DamageError as error:
        raise damaged(path, error) from error


def _hash(file: BinaryIO, update: Callable[[bytes], None]) -> None:
    while piece := file.read(1 << 20):
        update(piece)
    file.seek(0)


def chosen(
    path: Path,
    contents: Contents,
    key: str | None = None,
    known: Callable[[str], bool] | None = None,
) -> Choice:
    """Choose among a file's mappings; arguments as in :func:`read`.

    Raises:
        CheckpointError: there is none, or none at ``key``.
    """
    candidates = contents.candidates
    if not any(candidate.tensors for candidate in candidates):
        raise CheckpointError(_nothing(path, contents))
    if key is None:
        taken, others = choose(candidates, known)
    else:
        taken, others = _at(path, candidates, key), []
    tensors, left = _without_training_state(taken.tensors)
    places = tuple(shown(other.place) for other in others)
    return Choice(
        taken.place,
        tensors,
        places,
        left if key is not None else left | _left(candidates, [taken, *others]),
        (*contents.notes, *_notes(path, contents, taken, others, left)),
    )


def _nothing(path: Path, contents: Contents) -> str:
    odd = [f"{name} ({kind})" for c in contents.candidates for name, kind in c.odd.items()]
    if odd:
        return f"{path} holds only tensors of kinds that are not read: {few(odd)}; save dense ones"
    if contents.container == "TorchScript archive":
        return f"{path} is a TorchScript archive without tensors; give the network's checkpoint"
    return (
        f"{path} holds no named tensors but {contents.summary} ({contents.container}); "
        "save model.state_dict(), or give another file"
    )


def _at(path: Path, candidates: list[Candidate], key: str) -> Candidate:
    taken = named_by(candidates, key)
    if taken is None:
        there = [f"{c.place or 'the top'} ({len(c.tensors)})" for c in candidates if c.tensors]
        raise CheckpointError(
            f"{path} holds no tensors at {shown(key)!r}; it has tensors at {few(there)}"
        )
    return taken


def _without_training_state(tensors: dict[str, Stored]) -> tuple[dict[str, Stored], dict[str, int]]:
    """Leave out an optimiser's tensors where they stand among the weights, and count them."""
    left: Counter[str] = Counter()
    kept: dict[str, Stored] = {}
    for name, tensor in tensors.items():
        first, dot, _ = name.partition(".")
        if dot and first.lower().startswith(("optimizer", "optimiser")):
            left[shown(first)] += 1
        else:
            kept[name] = tensor
    return (kept, dict(left)) if kept else (tensors, {})


def _left(candidates: list[Candidate], taken: list[Candidate]) -> dict[str, int]:
    """How many tensors are in mappings that could not have been meant, by where they stand."""
    counts: Counter[str] = Counter()
    known = {id(candidate) for candidate in taken}
    for candidate in candidates:
        if candidate.tensors and id(candidate) not in known:
            counts[_short(candidate.place)] += len(candidate.tensors)
    return dict(counts)


def _short(place: str) -> str:
    """A place up to what makes it training state or another network."""
    parts = place.split(".")
    for number, part in enumerate(parts, 1):
        if is_training_state(part) or is_other_network(part):
            return ".".join(parts[:number])
    return place or "the top"


def _notes(
    path: Path,
    contents: Contents,
    taken: Candidate,
    others: list[Candidate],
    left: dict[str, int],
) -> Iterator[str]:
    if others:
        there = few([f"{other.place or 'the top'} ({len(other.tensors)})" for other in others])
        yield (
            f"the {len(taken.tensors)} tensors at {shown(taken.place) or 'the top'} were taken; "
            f"{there} could be meant too: choose by key"
        )
    if left and {"step", "trained_on"} <= contents.metadata.keys():
        step = shown(contents.metadata["step"], 20)
        yield f"a checkpoint of rethined-train after {step} steps; its optimiser was left out"
    if taken.odd:
        odd = [f"{name} ({kind})" for name, kind in taken.odd.items()]
        yield f"{len(odd)} tensors are of kinds that are not read: {few(odd)}"
    if hint := lone_shard(path):
        yield hint
