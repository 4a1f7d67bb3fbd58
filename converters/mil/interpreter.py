"""Runs a saved ML Program operator by operator."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rethined_export.converters.mil.reading import (
    Declared,
    Slot,
    Step,
    read_package,
    to_tensor,
)
from rethined_export.converters.mil.registry import OPERATORS, Argument, Call
from rethined_export.converters.types import ArtifactError, UnsupportedOperatorError

_NUMPY: dict[str, type[np.generic]] = {
    "fp16": np.float16,
    "fp32": np.float32,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "bool": np.bool_,
}
#: Told a value's name and what it holds.
Watch = Callable[[str, npt.NDArray[Any]], None]


class MLProgram:
    """A saved ML Program, loaded with its weights; runs operator by operator over torch.

    It shows that conversion, passes, serialisation and weights are right, not what Apple's runtime
    computes: sums are float32, and float16 programs are rounded after each operator, not within.

    Args:
        path: an ``.mlpackage`` of fixed shapes.

    Attributes:
        inputs: shape of each input; image inputs as the program takes them, ``[1, C, H, W]``.
        outputs: names in the order of the model description.

    Raises:
        ArtifactError: not a package, not an ML Program, or files missing, truncated or unreadable.
        UnsupportedOperatorError: an operator that is not implemented here.
    """

    def __init__(self, path: Path) -> None:
        self._listing = read_package(path)
        self.inputs = {value.name: value.shape for _, value in self._listing.inputs}
        self.outputs = list(self._listing.outputs)

    def count_operators(self) -> Counter[str]:
        """Operators by type, constants left out."""
        return Counter(step.kind for step in self._listing.steps)

    def constants(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """Names and values of what operators read that is stored in the package, texts left out.

        Values are as :func:`~rethined_export.converters.mil.reading.to_tensor` holds them.
        """
        for slot, name in self._listing.named.items():
            value = self._listing.constants[slot]
            if isinstance(value, Tensor):
                yield name, value.numpy()

    def run(
        self, inputs: Mapping[str, npt.NDArray[Any]], watch: Watch | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Execute the program.

        Args:
            watch: told the name and the values of every operator's results, as the interpreter
                holds them: floats in float32.

        Returns:
            The outputs by name, in their declared types.

        Raises:
            ValueError: the inputs are not those of the program.
            ArtifactError: an operator fails, reads out of bounds or contradicts its declaration.
            UnsupportedOperatorError: an option that is not implemented here.
        """
        if inputs.keys() != self.inputs.keys():
            raise ValueError(f"inputs {sorted(inputs)} given, {sorted(self.inputs)} expected")
        values: dict[Slot, Tensor] = {}
        for slot, declared in self._listing.inputs:
            given = inputs[declared.name]
            if given.shape != declared.shape:
                raise ValueError(f"{declared.name} is {given.shape}, not {declared.shape}")
            values[slot] = _settle(to_tensor(given), declared, "input")
        with torch.inference_mode():
            for step in self._listing.steps:
                self._execute(step, values, watch)
        results = {}
        for name, (slot, declared) in self._listing.outputs.items():
            value = self._resolve(slot, values)
            assert isinstance(value, Tensor)
            results[name] = value.numpy().astype(_NUMPY[declared.dtype])
        return results

    def _execute(self, step: Step, values: dict[Slot, Tensor], watch: Watch | None) -> None:
        """Run one operator, then drop the values that nobody reads any more."""
        arguments = {key: self._resolve(slots, values) for key, slots in step.arguments.items()}
        call = Call(step.kind, step.name, arguments)
        label = f"{step.kind} ({step.name})"
        try:
            result = OPERATORS[step.kind](call)
        except (ArtifactError, UnsupportedOperatorError):
            raise
        except Exception as error:
            raise ArtifactError(f"{label} fails: {' '.join(str(error).split())}") from error
        if call.unread:
            raise UnsupportedOperatorError(f"{label}: unknown options {', '.join(call.unread)}")
        tensors = result if isinstance(result, tuple) else (result,)
        if len(tensors) != len(step.results):
            raise ArtifactError(f"{label}: {len(tensors)} outputs, {len(step.results)} declared")
        for tensor, (slot, declared) in zip(tensors, step.results, strict=True):
            values[slot] = _settle(tensor, declared, label)
            if watch is not None:
                watch(declared.name, values[slot].numpy())
        for slot in step.expired:
            del values[slot]

    def _resolve(self, slots: Slot | tuple[Slot, ...], values: dict[Slot, Tensor]) -> Argument:
        if isinstance(slots, tuple):
            return tuple(self._tensor(slot, values) for slot in slots)
        constant = self._listing.constants.get(slots)
        return values[slots] if constant is None else constant

    def _tensor(self, slot: Slot, values: dict[Slot, Tensor]) -> Tensor:
        value = self._resolve(slot, values)
        assert isinstance(value, Tensor)
        return value


def _settle(value: Tensor, declared: Declared, label: str) -> Tensor:
    """Bring a result to its declared type.

    float16 is rounded, values beyond its range to infinity, and kept as float32, which is far
    faster to compute with here. Integers are kept as int32.

    Raises:
        ArtifactError: the shape or the type is not the declared one, or integers do not fit.
    """
    where = f"{label}: {declared.name}"
    if tuple(value.shape) != declared.shape:
        raise ArtifactError(f"{where} is {tuple(value.shape)}, declared {declared.shape}")
    if declared.dtype == "fp16" and value.dtype == torch.float32:
        return value.half().float()
    if declared.dtype == "fp32" and value.dtype == torch.float32:
        return value
    if declared.dtype == "bool" and value.dtype == torch.bool:
        return value
    numpy_type = _NUMPY.get(declared.dtype)
    integers = value.dtype in (torch.int32, torch.int64)
    if not integers or numpy_type is None or not issubclass(numpy_type, np.integer):
        raise ArtifactError(f"{where} is {value.dtype}, declared {declared.dtype}")
    if value.dtype == torch.int64 or numpy_type != np.int32:
        limits = np.iinfo(numpy_type)
        if value.numel() and not limits.min <= value.min() <= value.max() <= limits.max:
            raise ArtifactError(f"{where} holds values that {declared.dtype} cannot")
    return value.to(torch.int32)
