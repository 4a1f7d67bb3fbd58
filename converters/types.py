"""What the export pipeline and the converters tell each other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = npt.NDArray[np.generic]
#: Inputs and outputs that are images: ``[1, C, H, W]`` in torch, NHWC in a TFLite artifact.
IMAGES = ("image", "mask", "output", "composite")


@dataclass(frozen=True)
class Program:
    """A torch module ready for conversion.

    Attributes:
        module: in eval mode; called with the inputs in order.
        inputs: example tensors by name, in order.
        outputs: names of the module's outputs, in order.
        metadata: facts embedded in the artifact.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    metadata: dict[str, str] = field(default_factory=dict)


class Runner(Protocol):
    """Something that computes what an artifact computes.

    Called with its inputs by name, and returns its outputs by name; ``IMAGES`` are
    ``[1, C, H, W]`` here whatever the artifact's own layout.
    """

    name: str

    def __call__(self, **inputs: Array) -> dict[str, Array]: ...


class Runtime(Runner, Protocol):
    """A saved artifact, loaded to run on this machine; leaving its context unloads it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Converter(Protocol):
    """One target: torch program → file, and file → callable. Each module of this package is one."""

    def convert(self, program: Program, path: Path) -> None:
        """Write the artifact to ``path``."""

    def load(self, path: Path, threads: int) -> Runtime:
        """Raises ArtifactError: not an artifact of this target, truncated, or unusable."""

    def count_operators(self, path: Path) -> Counter[str]:
        """Operators of the saved artifact by name, constants left out."""

    def metadata(self, path: Path) -> dict[str, str]:
        """The facts embedded in the saved artifact.

        Raises ArtifactError: not an artifact of this target, or a damaged one.
        """


class ArtifactError(Exception):
    """The file cannot be loaded or run as an artifact of its target."""


class UnsupportedOperatorError(Exception):
    """The artifact holds an operator that its runtime here cannot execute."""
