"""What a container holds, before anything is chosen from it."""

from dataclasses import dataclass, field
from typing import Any

from rethined_export.checkpoints.stored import Stored


@dataclass(frozen=True)
class Candidate:
    """A mapping of tensors.

    Attributes:
        place: where it stands, as dotted keys; "" for the top.
        tensors: by name.
        odd: entries that are tensors of a kind not read (sparse, quantised), name to kind.
    """

    place: str
    tensors: dict[str, Stored]
    odd: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contents:
    """An opened file.

    Attributes:
        container: what kind of file, in words.
        candidates: every mapping of tensors in it, in the order they were found.
        summary: what the top holds, in words; for files without tensors.
        size: of the file, or of index and shards together, in bytes.
        metadata: text beside the tensors (safetensors).
        settings: plain values under ``config`` beside the tensors.
        notes: what should be said to the user.
    """

    container: str
    candidates: list[Candidate]
    summary: str
    size: int
    metadata: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
