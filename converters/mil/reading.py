"""Reads a saved package into the plain steps that the interpreter runs."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rethined_export.converters.apple import ModelPackage, ct, load, proto_to_types, types
from rethined_export.converters.files import check_package
from rethined_export.converters.mil.registry import OPERATORS
from rethined_export.converters.types import ArtifactError, UnsupportedOperatorError

FUNCTION = "main"
Slot = int  # a value of the program: an input, a constant, or the output of an operator


@dataclass(frozen=True)
class Declared:
    """A value as the program declares it; ``dtype`` in MIL's spelling, such as ``fp16``."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Step:
    """One operator: slots of its arguments and results, and the slots nobody reads afterwards."""

    kind: str
    name: str
    arguments: dict[str, Slot | tuple[Slot, ...]]
    results: tuple[tuple[Slot, Declared], ...]
    expired: tuple[Slot, ...]


@dataclass(frozen=True)
class Listing:
    """A program without control flow, in order of execution; ``named``: the names of constants."""

    inputs: tuple[tuple[Slot, Declared], ...]
    outputs: dict[str, tuple[Slot, Declared]]
    constants: dict[Slot, Tensor | str]
    named: dict[Slot, str]
    steps: tuple[Step, ...]


def open_package(path: Path) -> tuple[Any, Path]:
    """The specification of an ``.mlpackage`` that holds an ML Program, and the file it came from.

    Raises:
        ArtifactError: not a package, not an ML Program, or files missing, truncated or unreadable.
    """
    check_package(path)
    with _as_artifact_error(path, "cannot read the package"):
        root = Path(ModelPackage(str(path)).getRootModel().path())
        spec = ct.utils.load_spec(str(path))
    if spec.WhichOneof("Type") != "mlProgram":
        raise ArtifactError(
            f"{path}: holds {spec.WhichOneof('Type') or 'no model'}, not an ML Program"
        )
    if FUNCTION not in spec.mlProgram.functions:
        raise ArtifactError(f"{path}: the ML Program has no function {FUNCTION}")
    return spec, root


def read_package(path: Path) -> Listing:
    """Load the program of an ``.mlpackage`` with its weights.

    Raises:
        ArtifactError: not a package, not an ML Program, or files missing, truncated or unreadable.
        UnsupportedOperatorError: an operator that the interpreter does not know.
    """
    spec, root = open_package(path)
    with _as_artifact_error(path, "cannot load the ML Program"):
        function = spec.mlProgram.functions[FUNCTION]
        operations = function.block_specializations[function.opset].operations
        _refuse_unknown(operations)
        program = load(spec, spec.specificationVersion, str(root.parent / "weights"))
        return _Lister(spec, operations, program.functions[FUNCTION]).listing()


@contextlib.contextmanager
def _as_artifact_error(path: Path, failure: str) -> Iterator[None]:
    # coremltools raises bare asserts, KeyError, RuntimeError, protobuf's DecodeError and more.
    try:
        yield
    except (ArtifactError, UnsupportedOperatorError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ArtifactError(
            f"{path}: {failure}, which may be damaged or truncated: {reason}"
        ) from error


def _is_constant(kind: str) -> bool:
    return kind == "const" or kind.startswith("constexpr_")


def _refuse_unknown(operations: Iterable[Any]) -> None:
    kinds = {operation.type for operation in operations}
    unknown = sorted(kind for kind in kinds if kind not in OPERATORS and not _is_constant(kind))
    if unknown:
        raise UnsupportedOperatorError(f"operators not known here: {', '.join(unknown)}")


class _Lister:
    """Turns coremltools' program into steps; variables become slots."""

    def __init__(self, spec: Any, operations: Iterable[Any], function: Any) -> None:
        self._function = function
        self._description = spec.description
        self._types = {
            output.name: output.type for operation in operations for output in operation.outputs
        }
        self._slots: dict[int, Slot] = {}
        self._constants: dict[Slot, Tensor | str] = {}
        self._named: dict[Slot, str] = {}

    def listing(self) -> Listing:
        inputs = tuple(
            (self._slot(variable), self._input(name, variable))
            for name, variable in self._function.inputs.items()
        )
        outputs = {
            variable.name: (self._slot(variable), _declared(variable.name, variable.sym_type))
            for variable in self._function.outputs
        }
        named = [feature.name for feature in self._description.output]
        if sorted(named) != sorted(outputs):
            raise ArtifactError(f"the model describes outputs {named}, returns {list(outputs)}")
        steps = self._steps({slot for slot, _ in outputs.values()})
        outputs = {name: outputs[name] for name in named}
        return Listing(inputs, outputs, self._constants, self._named, steps)

    def _steps(self, kept: set[Slot]) -> tuple[Step, ...]:
        """Operators last to first, so that the first reader met of a slot is its last."""
        seen, steps = set(kept), []
        for operation in reversed(list(self._function.operations)):
            if _is_constant(operation.op_type):
                continue
            arguments = {
                key: self._argument(value)
                for key, value in operation.inputs.items()
                if value is not None
            }
            results = tuple(
                (self._slot(variable), self._result(variable)) for variable in operation.outputs
            )
            used = {slot for slot, _ in results}
            for value in arguments.values():
                used.update(value if isinstance(value, tuple) else (value,))
            expired = tuple(used - seen - self._constants.keys())
            seen |= used
            steps.append(Step(operation.op_type, operation.name, arguments, results, expired))
        return tuple(reversed(steps))

    def _input(self, name: str, variable: Any) -> Declared:
        """The program's own input, whose shape the model's description has to repeat."""
        declared = _declared(name, variable.sym_type)
        features = {feature.name: feature.type for feature in self._description.input}
        if name not in features:
            raise ArtifactError(f"the model does not describe its input {name}")
        if features[name].WhichOneof("Type") == "multiArrayType":
            described = tuple(features[name].multiArrayType.shape)
            if described != declared.shape:
                raise ArtifactError(f"input {name} is {declared.shape}, described as {described}")
        return declared

    def _result(self, variable: Any) -> Declared:
        # From the file, not from coremltools' inference, which agrees or fails to load.
        return _declared(variable.name, proto_to_types(self._types[variable.name]))

    def _argument(self, value: Any) -> Slot | tuple[Slot, ...]:
        if isinstance(value, list | tuple):
            return tuple(self._value(one) for one in value)
        return self._value(value)

    def _value(self, variable: Any) -> Slot:
        """The slot of an argument; a constant is materialised at its first use."""
        slot = self._slot(variable)
        producer = variable.op
        if slot not in self._constants and producer and _is_constant(producer.op_type):
            value = (
                variable.val
                if producer.op_type == "const"
                else producer.materialized_val_inference()
            )
            self._constants[slot] = value if isinstance(value, str) else to_tensor(value)
            self._named[slot] = variable.name
        return slot

    def _slot(self, variable: Any) -> Slot:
        # Names may repeat (defaults that coremltools adds); the program keeps the objects alive.
        return self._slots.setdefault(id(variable), len(self._slots))


def _declared(name: str, kind: Any) -> Declared:
    tensor = types.is_tensor(kind)
    shape = tuple(kind.get_shape()) if tensor else ()
    if not all(isinstance(size, int | np.integer) for size in shape):
        raise ArtifactError(f"{name}: flexible shapes cannot be run")
    dtype = kind.get_primitive() if tensor else kind
    return Declared(name, tuple(int(size) for size in shape), types.builtin_to_string(dtype))


def to_tensor(value: Any) -> Tensor:
    """A value as the interpreter holds it: float32, int32 (int64 where wider) or bool."""
    array = np.ascontiguousarray(value).reshape(np.shape(value))
    if array.dtype == np.bool_:
        return torch.from_numpy(array)
    if np.issubdtype(array.dtype, np.floating):
        return _own(array.astype(np.float32, copy=False))
    if np.issubdtype(array.dtype, np.integer):
        wide = not np.can_cast(array.dtype, np.int32)
        return _own(array.astype(np.int64 if wide else np.int32, copy=False))
    raise ArtifactError(f"a value of type {array.dtype} cannot be run")


def _own(array: np.ndarray[Any, Any]) -> Tensor:
    # torch warns about arrays it may not write, such as views of the weight file.
    return torch.from_numpy(array if array.flags.writeable else array.copy())
