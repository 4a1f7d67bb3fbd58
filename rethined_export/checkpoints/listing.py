"""Say what a checkpoint holds, without reading its tensors."""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rethined_export.checkpoints.errors import in_bytes, shown
from rethined_export.checkpoints.mappings import tails
from rethined_export.checkpoints.reading import chosen, opened

#: For each model, how likely names (without their prefix) are its state dict's, from 0 to 1.
Recognisers = Mapping[str, Callable[[Collection[str]], float]]
_DECORATION = re.compile(
    r"(module|_orig_mod|model|generator|net_?G|netG|gen|G|network|net|G_ema|ema_model)\."
)
#: Prefixes that stand before less than this share of the names are not a network's.
_LEAST_SHARE, _MOST_PREFIXES = 0.1, 32


@dataclass(frozen=True)
class Guess:
    """The model whose state dict names look most like."""

    model: str
    score: float
    prefix: str


@dataclass(frozen=True)
class Entry:
    """One tensor: its size is what its elements take, in bytes."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    size: int


@dataclass(frozen=True)
class Place:
    """A mapping of tensors: where it stands, how many there are, and their bytes."""

    at: str
    tensors: int
    size: int


@dataclass(frozen=True)
class Listing:
    """What is in a file.

    Attributes:
        size: of the file in bytes (of the index, for shards).
        at: dotted place of the mapping that is listed; "" for the top.
        places: every mapping of tensors, in the file's order.
        prefix: what stands before the network's names, with its dot.
        guess: the model it most likely is; None where none was recognised.
        entries: the tensors at ``at``, by their names in the file.
        ignored, metadata, notes: as in :class:`~rethined_export.checkpoints.Checkpoint`.
    """

    path: Path
    size: int
    sha256: str
    container: str
    at: str
    places: tuple[Place, ...]
    prefix: str
    guess: Guess | None
    entries: tuple[Entry, ...]
    ignored: dict[str, int]
    metadata: dict[str, str]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """For printing: what the file is, then one line a tensor."""
        total = in_bytes(sum(entry.size for entry in self.entries))
        found = [
            f"{self.path}: {self.container}, {in_bytes(self.size)}",
            f"sha256 {self.sha256}",
            f"weights at {shown(self.at) or 'the top'}: {len(self.entries)} tensors, {total}",
        ]
        found += [
            f"also at {shown(place.at) or 'the top'}: {place.tensors} tensors, "
            f"{in_bytes(place.size)}"
            for place in self.places
            if place.at != self.at
        ]
        if self.prefix:
            found.append(f"prefix {shown(self.prefix)}")
        if self.guess:
            found.append(f"looks like {self.guess.model} ({self.guess.score:.0%} of its names)")
        found += [f"{shown(name)}: {shown(text)}" for name, text in self.metadata.items()]
        found += self.notes
        width = min(max((len(entry.name) for entry in self.entries), default=0), 72)
        return found + [
            f"  {shown(entry.name, 200):{width}}  {'×'.join(map(str, entry.shape)) or 'scalar'}  "
            f"{entry.dtype}  {in_bytes(entry.size)}"
            for entry in self.entries
        ]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self) | {"path": str(self.path)}


def describe(path: Path, key: str | None = None, recognise: Recognisers | None = None) -> Listing:
    """List a checkpoint.

    Args:
        key: as in :func:`~rethined_export.checkpoints.read`.
        recognise: models that may be recognised, see :func:`guess`.

    Raises:
        CheckpointError: as :func:`~rethined_export.checkpoints.read`.
    """
    with opened(path) as (contents, sha256):
        choice = chosen(path, contents, key)
        found = guess(choice.tensors.keys(), recognise or {})
        return Listing(
            path,
            path.stat().st_size,
            sha256,
            contents.container,
            choice.at,
            tuple(
                Place(candidate.place, len(candidate.tensors), _size(candidate.tensors.values()))
                for candidate in contents.candidates
            ),
            found.prefix if found else common_decoration(choice.tensors.keys()),
            found,
            tuple(
                Entry(name, t.shape, str(t.dtype).removeprefix("torch."), t.nbytes)
                for name, t in choice.tensors.items()
            ),
            choice.ignored,
            contents.metadata,
            choice.notes,
        )


def guess(names: Collection[str], recognise: Recognisers) -> Guess | None:
    """The model that names belong to, whatever prefix stands before them.

    Args:
        recognise: each function takes the names behind one prefix and returns how likely they
            are its model's; 0 for not at all.
    """
    best: Guess | None = None
    for prefix in _prefixes(names):
        behind = [name[len(prefix) :] for name in names if name.startswith(prefix)]
        for model, score_of in recognise.items():
            score = score_of(behind)
            if score > 0 and (best is None or score > best.score):
                best = Guess(model, score, prefix)
    return best


def _prefixes(names: Collection[str]) -> list[str]:
    """Nothing, and prefixes that many names share, the commonest first."""
    counts: Counter[str] = Counter()
    for name in names:
        for tail in list(tails(name))[1:5]:
            counts[name[: len(name) - len(tail)]] += 1
    often = [(-n, len(p), p) for p, n in counts.items() if n >= _LEAST_SHARE * len(names)]
    return ["", *(prefix for _, _, prefix in sorted(often)[:_MOST_PREFIXES])]


def common_decoration(names: Collection[str]) -> str:
    """What wrappers put before every name (``module.``, ``model.``), with its dots."""
    first = next(iter(names), "")
    prefix = ""
    while found := _DECORATION.match(first, len(prefix)):
        longer = prefix + found[0]
        if not all(name.startswith(longer) for name in names):
            break
        prefix = longer
    return prefix


def _size(tensors: Collection[Any]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
