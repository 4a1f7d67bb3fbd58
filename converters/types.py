"""What the export pipeline and the converters tell each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = npt.NDArray[np.generic]
#: Layout of an image in torch; a target may hold it channels last.
PLANES, CHANNELS_LAST = "NCHW", "NHWC"


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of a program.

    Attributes:
        shape, layout: as torch has it; images are ``NCHW``.
        meaning: what the values stand for, and their range.
    """

    name: str
    shape: tuple[int, ...]
    layout: str
    dtype: str
    meaning: str

    @property
    def is_image(self) -> bool:
        """Whether a target that wants channels last holds it so."""
        return self.layout == PLANES

    def channels_last(self) -> TensorInfo:
        """The same tensor as a target holds it that wants images so."""
        if not self.is_image:
            return self
        batch, channels, height, width = self.shape
        return replace(self, shape=(batch, height, width, channels), layout=CHANNELS_LAST)


@dataclass(frozen=True)
class Program:
    """A torch module ready for conversion.

    Attributes:
        module: in eval mode; called with the inputs in order.
        inputs: example tensors by name, in order.
        takes, gives: facts of the inputs and of the outputs, in order.
        metadata: facts embedded in the artifact.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    takes: tuple[TensorInfo, ...]
    gives: tuple[TensorInfo, ...]
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return tuple(info.name for info in self.gives)


def run_program(
    module: nn.Module, inputs: dict[str, Tensor], outputs: tuple[str, ...], images: Collection[str]
) -> Program:
    """A program whose facts are read off one run of it on its example inputs.

    Args:
        images: names of inputs and outputs that are images, ``[1, C, H, W]``.
    """
    made = module(*inputs.values())
    results = dict(zip(outputs, made if isinstance(made, tuple) else (made,), strict=True))

    def infos(tensors: dict[str, Tensor]) -> tuple[TensorInfo, ...]:
        return tuple(
            TensorInfo(
                name,
                tuple(tensor.shape),
                PLANES if name in images else "",
                str(tensor.dtype).removeprefix("torch."),
                "",
            )
            for name, tensor in tensors.items()
        )

    return Program(module, inputs, infos(inputs), infos(results))


class Runner(Protocol):
    """Something that computes what an artifact computes.

    Called with its inputs by name, and returns its outputs by name; images are ``[1, C, H, W]``
    here whatever the artifact's own layout.

    Attributes:
        takes: names of its inputs.
    """

    name: str
    takes: frozenset[str]

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

    def channels_last(self, path: Path) -> frozenset[str]:
        """Names of the inputs and outputs that the saved artifact holds channels last.

        Raises ArtifactError: not an artifact of this target, or a damaged one.
        """

    def metadata(self, path: Path) -> dict[str, str]:
        """The facts embedded in the saved artifact.

        Raises ArtifactError: not an artifact of this target, or a damaged one.
        """


class ArtifactError(Exception):
    """The file cannot be loaded or run as an artifact of its target."""


class UnsupportedOperatorError(Exception):
    """The artifact holds an operator that its runtime here cannot execute."""
