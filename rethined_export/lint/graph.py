"""An artifact's operators in one form, whatever format they came from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

#: Sizes in the artifact's own layout; None where the file leaves one open.
Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Value:
    """A tensor that an operator reads or writes.

    Attributes:
        name: unique in the graph.
        dtype: as ``float32``, ``int8`` or ``bool``; empty where the file does not say.
        shape: None where the file does not say.
        constant: stored in the file.
        data: elements of a small constant, flat.
    """

    name: str
    dtype: str = ""
    shape: Shape | None = None
    constant: bool = False
    data: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class Operator:
    """One operator.

    Attributes:
        kind: as the format calls it: ``CONV_2D``, ``Conv``, ``conv``.
        name: its own, or that of its first output.
        inputs: None for one that is left out.
        attributes: numbers, texts, flags and tuples of them, under the format's names.
        multiply_adds: of convolutions and matrix products, 0 for others; None where it cannot be
            told.
        nested: it holds graphs of its own (conditions, loops), which are not looked into.
        roles: what each input is to it, where the format names them (ML Programs); else empty.
    """

    kind: str
    name: str
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    multiply_adds: int | None = 0
    nested: bool = False
    roles: tuple[str, ...] = ()

    @property
    def given(self) -> tuple[Value, ...]:
        """The inputs that are there."""
        return tuple(value for value in self.inputs if value is not None)

    @property
    def flowing(self) -> tuple[Value, ...]:
        """What is computed when it runs: outputs, and inputs that are not constants."""
        return (*(value for value in self.given if not value.constant), *self.outputs)


@dataclass(frozen=True)
class Graph:
    """An artifact's operators in order of execution, without those that only hold constants.

    Attributes:
        target: of which they are: ``tflite``, ``onnx`` or ``coreml``.
        notes: what the file does not tell.
    """

    target: str
    operators: tuple[Operator, ...]
    notes: tuple[str, ...] = ()


def product(sizes: Sequence[int | None] | None) -> int | None:
    """Elements of a shape; None where a size is not known."""
    if sizes is None:
        return None
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None


def times(*factors: int | None) -> int | None:
    """A product that is not known where a factor is not."""
    return product(factors)
